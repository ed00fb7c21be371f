"""Dials a notebook server. Made by the reconciler when a container is ready, used by all that talk to notebooks.

The directory of a Unix socket belongs to a hostile visitor (decision 8). So the socket is opened once as a path
handle (`O_PATH | O_NOFOLLOW`), checked to be a socket, and from then on dialled through `/proc/self/fd/N`. That pins
the inode, so it cannot be swapped later, and lifts the 107-byte limit on a socket's path (unix(7)). If this process
has no descriptor left for the handle, the socket is pinned at the first dial.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from tmpnb_py.core.errors import is_our_lack
from tmpnb_py.core.models import Address, RelayedAddress, SocketAddress

P = TypeVar("P", bound=asyncio.BaseProtocol)


class Endpoint:
    """A dialable address. Holds one file descriptor for a socket address until `close()`."""

    def __init__(self, address: Address) -> None:
        """Pin the address. Raises `OSError` if it does not exist or is not a socket."""
        self.address = address
        self._closed = False
        self._fd = -1
        try:
            self._pin()
        except OSError as error:
            if not is_our_lack(error):
                raise

    def _pin(self) -> None:
        if self._fd < 0 and isinstance(self.address, SocketAddress):
            self._fd = _pin(self.address)

    async def connect(self, factory: Callable[[], P]) -> P:
        """Open a connection. Raises `OSError`; the caller bounds the time."""
        if self._closed:
            raise ConnectionRefusedError("this endpoint is closed")
        loop, address = asyncio.get_running_loop(), self.address
        if isinstance(address, RelayedAddress):
            return cast(P, await address.dial(factory))
        if isinstance(address, SocketAddress):
            self._pin()
            return (await loop.create_unix_connection(factory, f"/proc/self/fd/{self._fd}"))[1]
        return (await loop.create_connection(factory, address.host, address.port))[1]

    def close(self) -> None:
        """Close the file descriptor. Idempotent."""
        self._closed = True
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def is_removed(address: Address) -> bool:
    """Whether a socket's directory was removed while the pool's parent directory still exists."""
    if not isinstance(address, SocketAddress):
        return False
    directory = Path(address.directory)
    try:
        return directory.parent.is_dir() and not os.path.lexists(directory)
    except OSError:  # not permitted to look: unknown
        return False


def _pin(address: SocketAddress) -> int:
    """Open a path handle on the socket, following no link in the directory or in the name."""
    directory = os.open(address.directory, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        handle = os.open(address.name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    if not stat.S_ISSOCK(os.fstat(handle).st_mode):
        os.close(handle)
        raise ConnectionRefusedError("the container put something other than a socket at its socket's path")
    return handle
