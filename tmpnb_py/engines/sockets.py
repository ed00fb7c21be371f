"""The directories in which containers create their sockets. Used by engines; short and synchronous.

Permissions, and why:

* `<runtime_dir>/sockets` and `<pool>` below it belong to the orchestrator with mode 0700. Nobody else on the
  host gets past them, whatever the modes below.
* A container's directory belongs to the orchestrator too, not to the container's user. So an orchestrator
  without root can create it, and it works with userns-remap, where the container's uid 1000 is another number
  outside. While the server starts it has mode 0777 so that uid 1000 *in the container* can create its socket.
* Once the server is ready the directory is sealed (0555): the visitor, who never owns it, can neither fill
  the host's disk through it nor swap the socket for something else. (Where the
  container's user has the orchestrator's own uid, the visitor owns it after all and may undo the seal: a
  probe tries that, and then notebooks get ports, see `docker.isolation`.)

The paths are the orchestrator's own and safe, but the *content* of a container's directory is hostile. So the
directory is only touched through a descriptor opened without following links, and removal never follows
one.
"""

from __future__ import annotations

import contextlib
import math
import os
import secrets
import shutil
import stat
import time
from pathlib import Path

from tmpnb_py.core.errors import EngineError
from tmpnb_py.engines.docker.options import HOSTS, is_id

_PRIVATE = 0o700
_OPEN_TO_SERVER = 0o777
_SEALED = 0o555
_HOSTS_NAME = ".hosts"  # no pool's name begins with a dot
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class SocketDirectories:
    """One directory per container of a pool. Raises `EngineError` if the file system refuses."""

    def __init__(self, runtime_dir: Path, pool: str) -> None:
        self._root = Path(os.path.abspath(runtime_dir)) / "sockets"  # noqa: PTH100 - resolve() would follow links
        self._pool = self._root / pool

    def path(self, container_id: str) -> Path:
        """The path of a container's directory, whether it exists or not."""
        if not is_id(container_id):
            raise EngineError(f"not a container id: {container_id!r}")
        return self._pool / container_id

    def create(self, container_id: str) -> Path:
        """Create the directory, writable for the container's server. It must not exist."""
        path = self.path(container_id)
        try:
            self._root.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            for parent in (self._root, self._pool):
                parent.mkdir(mode=_PRIVATE, exist_ok=True)
                _keep_private(parent)
            path.mkdir(mode=_PRIVATE)
            _chmod(path, _OPEN_TO_SERVER)  # mkdir's mode is cut by the umask
        except OSError as error:
            raise EngineError(
                f"cannot create a socket directory: {error}",
                remedy="set the option runtime-dir to a directory that belongs to this user",
            ) from error
        return path

    def seal(self, container_id: str) -> None:
        """Make the directory read-only. No-op if there is none (a container with a port)."""
        try:
            _chmod(self.path(container_id), _SEALED)
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineError(f"cannot seal a socket directory: {error}") from error

    def remove(self, container_id: str, mounted: str = "") -> None:
        """Remove the directory and its content without following links. No-op if there is none.

        `mounted` is the directory of a container started under another runtime directory: removed too, if permitted.
        """
        own = self.path(container_id)
        self._remove(own)
        other = Path(mounted)
        if other != own and other.parts[-3:] == ("sockets", self._pool.name, container_id):
            with contextlib.suppress(EngineError, OSError):
                self._remove(other)
                other.parent.rmdir()

    def _remove(self, path: Path) -> None:
        if not shutil.rmtree.avoids_symlink_attacks:  # pragma: no cover - true on Linux and macOS
            raise EngineError("this platform cannot remove a hostile directory safely")
        try:
            _chmod(path, _PRIVATE)  # its owner needs the write permission back to empty it, unless it is root
            shutil.rmtree(path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise EngineError(f"cannot remove a socket directory: {error}") from error

    def hosts_file(self) -> Path:
        """A file for the containers' `/etc/hosts`, for when Docker writes none. Created if missing."""
        path = self._root / _HOSTS_NAME
        if not path.exists():
            new = path.with_name(f"{_HOSTS_NAME}-{secrets.token_hex(4)}")
            try:
                new.write_text(HOSTS)
                new.chmod(0o644)  # whatever the umask: the containers' user reads it
                new.replace(path)  # other pools' orchestrators see all of it or nothing
            except OSError as error:
                raise EngineError(f"cannot create a hosts file: {error}") from error
        return path

    def remove_pool(self) -> None:
        """Remove the pool's own directory, unless containers still have directories in it.

        And the one above, if that was the last: who ends with nothing left should find nothing left.
        """
        with contextlib.suppress(OSError):
            self._pool.rmdir()
            self._root.rmdir()

    def stale(self, *, older_than: float = -math.inf, now_unix: float | None = None) -> set[str]:
        """Ids of directories whose last change of mode or content is more than `older_than` seconds ago, or ever."""
        now = time.time() if now_unix is None else now_unix
        found = set()
        try:
            with os.scandir(self._pool) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if is_id(entry.name) and now - status.st_ctime > older_than:
                        found.add(entry.name)
        except OSError:
            return set()
        return found


def _keep_private(path: Path) -> None:
    """Make sure that `path` is a real directory of this user that nobody else may enter."""
    descriptor = os.open(path, _DIRECTORY)
    try:
        status = os.fstat(descriptor)
        if status.st_uid != os.geteuid():
            raise PermissionError(f"{path} belongs to another user (uid {status.st_uid})")
        if stat.S_IMODE(status.st_mode) != _PRIVATE:
            os.fchmod(descriptor, _PRIVATE)
    finally:
        os.close(descriptor)


def _chmod(path: Path, mode: int) -> None:
    descriptor = os.open(path, _DIRECTORY)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
