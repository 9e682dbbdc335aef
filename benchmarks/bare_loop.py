"""``python -m benchmarks.bare_loop PAGES OUTPUT``: decode each page and write its objects as RECORDs, and no more.

What the tap is measured against. PAGES is a MessagePack list of the bytes of pages.
"""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec


def main(pages: Path, output: Path) -> None:
    """Do it once."""
    encoder = msgspec.json.Encoder()
    with output.open("wb") as lines:
        for page in msgspec.msgpack.decode(pages.read_bytes(), type=list[bytes]):
            for found in msgspec.json.decode(page)["data"]:
                lines.write(encoder.encode({"type": "RECORD", "stream": found["object"], "record": found}) + b"\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
