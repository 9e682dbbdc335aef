"""TLS in front of the test server, which has none of its own, with a certificate made for the test.

``tls_postgres`` ends TLS as a server would: it answers the client's wish for it, and passes what is inside to the test
server's socket. Who does not ask for TLS is refused.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import ssl
import struct
import subprocess
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from psycopg import conninfo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SSL_REQUEST = struct.pack("!II", 8, 80877103)
REFUSAL = b"SFATAL\0VFATAL\0C28000\0Mno pg_hba.conf entry for this host, no encryption\0\0"
BLOCK = 65_536


@dataclass(frozen=True, kw_only=True)
class TlsPostgres:
    """Where it is. ``authority``: the file with the certificate that it can be checked by."""

    port: int
    authority: Path
    other_authority: Path

    def url(self, database: str, *, host: str = "localhost", **parameters: object) -> str:
        """The libpq connection string of a database of the test server."""
        parts = {name: conninfo.conninfo_to_dict(database)[name] for name in ("user", "dbname")}
        return conninfo.make_conninfo(
            "", **{**parts, "host": host, "port": self.port, "gssencmode": "disable"}, **parameters
        )


def certificate(directory: Path, name: str) -> Path:
    """A certificate for localhost that vouches for itself, and its key beside it."""
    path = directory / f"{name}.pem"
    subprocess.run(
        [  # noqa: S607 - wherever it is
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
            "-keyout", str(path.with_suffix(".key")), "-out", str(path),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


def serve(client: socket.socket, context: ssl.SSLContext, server_path: str) -> None:
    """One connection, to its end."""
    with contextlib.suppress(OSError), client:
        if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
            client.sendall(b"E" + struct.pack("!I", len(REFUSAL) + 4) + REFUSAL)
            return
        client.sendall(b"S")
        with (
            context.wrap_socket(client, server_side=True) as inside,
            socket.socket(socket.AF_UNIX) as server,
            selectors.DefaultSelector() as ready,
        ):
            server.connect(server_path)
            ready.register(inside, selectors.EVENT_READ, server)
            ready.register(server, selectors.EVENT_READ, inside)
            while True:
                for key, _ in ready.select():
                    data = key.fileobj.recv(BLOCK)  # type: ignore[union-attr]
                    while key.fileobj is inside and inside.pending():
                        data += inside.recv(BLOCK)
                    if not data:
                        return
                    key.data.sendall(data)


@pytest.fixture(scope="session")
def tls_postgres(postgres_server, tmp_path_factory) -> Iterator[TlsPostgres]:
    directory = tmp_path_factory.mktemp("tls")
    own, other = certificate(directory, "own"), certificate(directory, "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own, own.with_suffix(".key"))
    parts = conninfo.conninfo_to_dict(postgres_server.url)
    server_path = f"{parts['host']}/.s.PGSQL.{parts.get('port') or 5432}"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client, context, server_path), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield TlsPostgres(port=listener.getsockname()[1], authority=own, other_authority=other)
        listener.shutdown(socket.SHUT_RDWR)
