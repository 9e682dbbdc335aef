"""The Singer state of the tap, and the only place that knows its keys.

    {"account": {"id": "acct_…", "livemode": false},
     "written_at": "2026-11-24T08:20:00.123Z",             when this state was written; it only grows
     "bookmarks": {"charge": {
         "backfill_started_at": "2026-11-24T08:00:00Z",    the first listing ever
         "backfill_finished_at": "2026-11-24T08:20:00Z",
         "listing_started_at": null,                       set while a listing is under way,
         "listing_from": null,                             with its start date
         "not_read": {"/v1/charges": "the key lacks …"},   and the lists that Stripe refused it
         "listed_at": "2026-11-24T08:00:00Z",              the start of the last listing that was finished
         "open_windows": [{"list": "/v1/charges", "from": …, "to": …, "after": "ch_…", "after_created": …}],
         "denied": {"since": "…", "reason": "…"}}}}

A window is a stretch of `created`, half-open, or the whole list; `after` is the last object of it that was delivered.
Windows are kept with the stream that a list is named after, whether or not that is selected.
Whether a listing goes on or begins anew is read from here, never inferred from anything else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tap_stripe_events.clock import iso, unix
from tap_stripe_events.errors import OtherAccountError, OtherModeError


@dataclass(frozen=True, kw_only=True)
class OpenWindow:
    """A stretch of a list that is not yet read to its end.

    Attributes:
        path: The list.
        parameters: The pass.
        start: The first second of `created` in it; None: no lower bound.
        end: The second after the last one; None: no upper bound.
        after: The id of the last object delivered.
        after_created: That object's `created`.
    """

    path: str
    parameters: dict[str, str]
    start: int | None = None
    end: int | None = None
    after: str | None = None
    after_created: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in the state."""
        return {
            "list": self.path,
            **({"pass": self.parameters} if self.parameters else {}),
            "from": None if self.start is None else iso(self.start),
            "to": None if self.end is None else iso(self.end),
            "after": self.after,
            "after_created": None if self.after_created is None else iso(self.after_created),
        }

    @classmethod
    def from_json(cls, window: dict[str, Any]) -> "OpenWindow":
        """Return what `to_json` wrote."""
        start, end, created = window.get("from"), window.get("to"), window.get("after_created")
        return cls(
            path=window["list"],
            parameters=dict(window.get("pass") or {}),
            start=None if start is None else unix(start),
            end=None if end is None else unix(end),
            after=window.get("after"),
            after_created=None if created is None else unix(created),
        )


class Bookmarks:
    """Reads and writes the state that the SDK holds; the one owner of its contents."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self._changed = True

    def stamp(self, now: float) -> bool:
        """Say when the state is written, if there is anything new in it; return whether there is.

        Args:
            now: The machine's time. A clock that was set back does not set the state back.
        """
        if not self._changed:
            return False
        milliseconds = int(now * 1000)
        if written := self._state.get("written_at"):
            milliseconds = max(milliseconds, round(datetime.fromisoformat(written).timestamp() * 1000) + 1)
        moment = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
        self._state["written_at"] = moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        self._changed = False
        return True

    def claim(self, account_id: str | None, *, livemode: bool) -> None:
        """Say whose state this is.

        Raises:
            OtherAccountError: It is another account's.
            OtherModeError: It is the other mode's.
        """
        stored = self._state.get("account") or {}
        if "livemode" in stored and stored["livemode"] != livemode:
            modes = {True: "live", False: "test"}
            raise OtherModeError(stored=modes[stored["livemode"]], current=modes[livemode])
        if stored.get("id") and account_id and stored["id"] != account_id:
            raise OtherAccountError(stored=stored["id"], current=account_id)
        self._state["account"] = {"id": account_id or stored.get("id"), "livemode": livemode}

    @property
    def account_id(self) -> str | None:
        """The account, if it is known."""
        identifier = self._state["account"]["id"]
        return identifier if isinstance(identifier, str) else None

    @property
    def livemode(self) -> bool:
        """Whether the account is read in live mode."""
        return bool(self._state["account"]["livemode"])

    def _stream(self, stream: str) -> dict[str, Any]:
        bookmark: dict[str, Any] = self._state.setdefault("bookmarks", {}).setdefault(stream, {})
        return bookmark

    def _change(self, stream: str) -> dict[str, Any]:
        self._changed = True
        return self._stream(stream)

    def listing_since(self, stream: str) -> int | None:
        """Return when the listing under way began, in Unix time; None if none is."""
        started = self._stream(stream).get("listing_started_at")
        return None if started is None else unix(started)

    def listings(self) -> dict[str, int]:
        """Return the streams with a listing under way, and when it began, in Unix time."""
        found = {stream: self.listing_since(stream) for stream in self._state.get("bookmarks", {})}
        return {stream: second for stream, second in found.items() if second is not None}

    def listing_floor(self, stream: str) -> int | None:
        """Return the start date of the listing under way, in Unix time; None: everything."""
        floor = self._stream(stream).get("listing_from")
        return None if floor is None else unix(floor)

    def listed_at(self, stream: str) -> int | None:
        """Return when the last listing that was finished began, in Unix time; None if none was."""
        listed = self._stream(stream).get("listed_at")
        return None if listed is None else unix(listed)

    def begin_listing(self, stream: str, second: int, floor: int | None = None) -> None:
        """Note that a listing of the stream begins, of what was created since `floor`."""
        bookmark = self._change(stream)
        bookmark.setdefault("backfill_started_at", iso(second))
        bookmark.setdefault("backfill_finished_at", None)
        bookmark["listing_started_at"] = iso(second)
        bookmark["listing_from"] = None if floor is None else iso(floor)
        bookmark.pop("not_read", None)

    def abandon_listing(self, stream: str) -> None:
        """Note that the listing under way will not be finished: the next one begins anew."""
        bookmark = self._change(stream)
        bookmark["listing_started_at"] = None
        bookmark.pop("listing_from", None)
        bookmark.pop("not_read", None)

    def leave_out(self, stream: str, path: str, reason: str) -> None:
        """Note that the listing under way lacks what is in a list, since Stripe refuses that."""
        self._change(stream).setdefault("not_read", {})[path] = reason

    def not_read(self, stream: str) -> dict[str, str]:
        """Return the paths of the lists that the listing under way lacks, and why."""
        return dict(self._stream(stream).get("not_read") or {})

    def finish_listing(self, stream: str, second: int) -> None:
        """Note that the listing under way is finished.

        Args:
            stream: The stream.
            second: Now, on Stripe's clock.
        """
        bookmark = self._change(stream)
        bookmark["listed_at"] = bookmark["listing_started_at"]
        self.abandon_listing(stream)
        if bookmark.get("backfill_finished_at") is None:
            bookmark["backfill_finished_at"] = iso(second)

    def windows(self, stream: str, path: str) -> tuple[OpenWindow, ...]:
        """Return the open windows of one of the stream's lists."""
        found = (OpenWindow.from_json(each) for each in self._stream(stream).get("open_windows", ()))
        return tuple(each for each in found if each.path == path)

    def set_windows(self, stream: str, path: str, windows: Iterable[OpenWindow]) -> None:
        """Replace the open windows of one of the stream's lists."""
        bookmark = self._change(stream)
        others = [each for each in bookmark.get("open_windows", ()) if each["list"] != path]
        bookmark["open_windows"] = others + [each.to_json() for each in windows]

    def deny(self, stream: str, reason: str, second: int) -> None:
        """Note that Stripe refuses the stream. Its listing ends here, unfinished."""
        bookmark = self._change(stream)
        since = (bookmark.get("denied") or {}).get("since") or iso(second)
        bookmark["denied"] = {"since": since, "reason": reason}
        self.abandon_listing(stream)

    def allow(self, stream: str) -> None:
        """Note that Stripe lets the stream be read."""
        self._change(stream).pop("denied", None)

    def denied(self, stream: str) -> str | None:
        """Return why the stream is refused; None if it is not."""
        denied = self._stream(stream).get("denied")
        return denied["reason"] if denied else None
