"""Prints the addresses of the engine's machine, which the web proxy lets no notebook reach.

The service may run in a container, and then sees only that container's addresses as its own. So the Docker engine
runs this file's source in a container that shares the machine's network. It imports only the standard library and
must run on Python 3.8.
"""

from __future__ import annotations

import ipaddress
import json
from typing import Iterable, List  # noqa: UP035 - Python 3.8


def four(lines: Iterable[str]) -> List[str]:  # noqa: UP006
    """The machine's own IPv4 addresses in /proc/net/fib_trie: leaves that are followed by "/32 host LOCAL"."""
    found = set()
    leaf = ""
    for line in lines:
        words = line.split()
        if words[:1] == ["|--"]:
            leaf = words[1]
        elif words[:3] == ["/32", "host", "LOCAL"]:
            found.add(leaf)
    return sorted(found)


def six(lines: Iterable[str]) -> List[str]:  # noqa: UP006
    """Those of IPv6 in /proc/net/if_inet6, where an address is 32 digits."""
    return sorted({str(ipaddress.IPv6Address(int(line.split()[0], 16))) for line in lines if line.strip()})


def _lines(path: str) -> List[str]:  # noqa: UP006
    try:
        with open(path) as file:  # noqa: PTH123 - Python 3.8's standard library is enough
            return list(file)
    except OSError:  # a kernel without IPv6
        return []


if __name__ == "__main__":
    print(json.dumps({"addresses": four(_lines("/proc/net/fib_trie")) + six(_lines("/proc/net/if_inet6"))}))
