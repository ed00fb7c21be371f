"""A process that makes one page: a line of JSON with the arguments and then the notebook come in, a page goes out.

A process of its own, because the notebook may come from anywhere and be made to keep a parser busy for hours; that is
ended here by the kernel's limits. And the orchestrator's event loop, which carries every visitor's traffic, neither
shares its interpreter with the work nor holds the libraries for it in memory.
"""

from __future__ import annotations

import json
import resource
import sys

from tmpnb_py.core.errors import NotesError
from tmpnb_py.workshops.notes.model import dump
from tmpnb_py.workshops.notes.page import make

CPU_SECONDS = 20
MEMORY = 2 << 30  # bytes of addresses, of which far fewer are used


def main() -> int:
    """0 with a page on standard output, or 1 with a sentence there that says why there is none."""
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    arguments, _, data = sys.stdin.buffer.read().partition(b"\n")
    try:
        answer = dump(make(data, **json.loads(arguments)))
    except NotesError as error:
        sys.stdout.write(error.message)
        return 1
    sys.stdout.buffer.write(answer)
    return 0


if __name__ == "__main__":
    sys.exit(main())
