"""The process that compresses shared files well: `python -m tmpnb_py.shared_files.compress DIRECTORY`.

Started by `tmpnb_py.shared_files.shared` at the lowest priority, because the best compression takes a second per
megabyte. It reads checksums from standard input, one per line, and echoes each line when its file is written. It
ends with its input, and at once when the service ends in any way.
"""

from __future__ import annotations

import contextlib
import ctypes
import gzip
import os
import signal
import sys
from pathlib import Path

import brotli

from tmpnb_py.shared_files.store import write

_PR_SET_PDEATHSIG = 1  # prctl(2)


def compress(directory: Path, sha256: str) -> None:
    """Write the brotli file beside the gzip file; an empty one if it would not be smaller."""
    try:
        packed = (directory / f"{sha256}.gz").read_bytes()
    except FileNotFoundError:  # removed meanwhile
        return
    better = brotli.compress(gzip.decompress(packed), quality=11, lgwin=24)
    write(directory / f"{sha256}.br", better if len(better) < len(packed) else b"")


def main() -> None:
    """Compress the requested contents until the input ends."""
    with contextlib.suppress(AttributeError):  # without this call, it finishes its current file first
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.nice(19)
    directory = Path(sys.argv[1])
    for line in sys.stdin:
        compress(directory, line.strip())
        print(line.strip(), flush=True)


if __name__ == "__main__":
    main()
