"""A process that renders one page: reads a line of JSON arguments and then the notebook, writes the page.

It is a separate process because an untrusted notebook may keep a parser busy for hours, which the kernel's limits
end. Also, the orchestrator's event loop, which carries all visitors' traffic, shares neither its interpreter nor its
memory with this work and its libraries.
"""

from __future__ import annotations

import json
import resource
import sys

from tmpnb_py.core.errors import NotesError
from tmpnb_py.workshops.notes.model import dump
from tmpnb_py.workshops.notes.page import make

CPU_SECONDS = 20
MEMORY = 2 << 30  # bytes of address space, of which far less is used


def main() -> int:
    """Write a page to standard output and return 0, or write a sentence that explains the failure and return 1."""
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
