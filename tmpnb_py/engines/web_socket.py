"""The socket by which a notebook reaches the web proxy, in a directory that only the two of them see.

A notebook that can connect to it is the one whose directory it is: that is all the authentication there is, and
nothing that a notebook sends can change it. The directory's content is hostile while the notebook starts, so the
socket is made in a directory of our own and moved there: `rename` follows no link.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import stat
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

from tmpnb_py.core.errors import EngineError

WEB_SOCKET = "web.sock"
_BACKLOG = 64
_FOR_EVERY_USER = 0o666  # whatever number the notebook's user has here: nobody else gets into the directory
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NoDoors:
    """For commands, which start notebooks to look at them and serve nobody. Implements `base.WebDoors`."""

    def open(self, container_id: str, directory: str) -> None:
        """No-op."""

    def close(self, container_id: str) -> None:
        """No-op."""

    def shut_out(self, addresses: Collection[str]) -> None:
        """No-op."""


def listen(directory: str) -> socket.socket:
    """Make the socket in a notebook's directory, in place of an older one. Raises `EngineError`."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        with contextlib.ExitStack() as held:
            target = _opened(directory, held)
            own = held.enter_context(tempfile.TemporaryDirectory(prefix=".", dir=_place(directory)))
            source = _opened(own, held)
            name = secrets.token_hex(4)
            sock.bind(f"/proc/self/fd/{source}/{name}")  # a path of any length
            os.chmod(name, _FOR_EVERY_USER, dir_fd=source)  # whatever the umask
            sock.listen(_BACKLOG)
            with _writable(target):
                os.rename(name, WEB_SOCKET, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        sock.close()
        raise EngineError(f"cannot make the web proxy's socket: {error.strerror or error}") from error
    except BaseException:
        sock.close()
        raise
    return sock


def inode_of(directory: str) -> int:
    """What tells the socket from one that has taken its place; 0 if there is none."""
    try:
        return os.lstat(f"{directory}/{WEB_SOCKET}").st_ino
    except OSError:
        return 0


def _place(directory: str) -> str:
    """Where our own directory is: on the same file system, out of the notebook's sight."""
    return str(Path(directory).parent.parent)


def _opened(path: str, held: contextlib.ExitStack) -> int:
    descriptor = os.open(path, _DIRECTORY)
    held.callback(os.close, descriptor)
    return descriptor


@contextlib.contextmanager
def _writable(directory: int) -> Iterator[None]:
    """Let us, the directory's owner, write into it, though it is sealed."""
    mode = stat.S_IMODE(os.fstat(directory).st_mode)
    if not mode & stat.S_IWUSR and os.geteuid() != 0:
        os.fchmod(directory, mode | stat.S_IWUSR)
        try:
            yield
        finally:
            os.fchmod(directory, mode)
    else:
        yield
