"""How the application is served."""

from __future__ import annotations

from typing import Any

import uvicorn

_KEEP_ALIVE_SECONDS = 75  # longer than clients keep idle connections: one that is closed while a request is on its way
# to it leaves the caller not knowing whether Stripe has performed it
_GRACEFUL_SECONDS = 30


def make_server(app: Any, *, host: str = "127.0.0.1", port: int = 0) -> uvicorn.Server:
    """Return the server of an ASGI application; it passes on the upstream's `Server` and `Date`."""
    return uvicorn.Server(
        uvicorn.Config(
            app, host=host, port=port, access_log=False, server_header=False, date_header=False, log_level="warning",
            http="httptools", timeout_keep_alive=_KEEP_ALIVE_SECONDS, timeout_graceful_shutdown=_GRACEFUL_SECONDS,
        )
    )  # fmt: skip
