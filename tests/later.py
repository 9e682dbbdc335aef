"""A job that is run when it is its turn, or when somebody waits for it: for tests that stand in for a thread."""

from concurrent.futures import Future


class Later(Future):
    """A job, and what it comes to."""

    def __init__(self, job):
        super().__init__()
        self._job = job

    def run(self):
        """Run it, unless it has run; that the process is killed meanwhile is not its outcome."""
        if self.done():
            return
        try:
            self.set_result(self._job())
        except Exception as error:  # noqa: BLE001 - as an executor does
            self.set_exception(error)

    def result(self, timeout=None):
        """Its outcome."""
        self.run()
        return super().result(timeout)
