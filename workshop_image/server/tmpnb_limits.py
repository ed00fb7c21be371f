"""A notebook's limits and usage, and error messages that name the exceeded limit.

`GET <base>/tmpnb/limits` is for JupyterLab's status bar (`labextension/static/limits.js`), and tells it why a kernel
ended: the control group counts processes killed for lack of memory. Jupyter Server says "Unhandled error" if the disk
is full or no further process may be started; with this extension its answers name the limit. Every server imports
this at its start, so it imports little.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jupyter_server.base.handlers import APIHandler
from jupyter_server.utils import url_path_join
from tmpnb_room import CGROUP as GROUPS
from tmpnb_room import memory
from tornado import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from jupyter_server.serverapp import ServerApp
    from jupyter_server.services.contents.manager import ContentsManager

_INSUFFICIENT = 507  # Insufficient Storage (RFC 4918, 11.5), in a wider sense
_DEEPEST = 10  # causes of causes

_DISK = "The disk of this notebook is full{of}. Delete files that you do not need, and try again."
_PROCESSES = (
    "This notebook has as many processes as it may have{of}. Shut down kernels and terminals that you do not need "
    "(the square in a circle, at the left), and try again."
)
_MEMORY = (
    "This notebook has no memory left{of}. Shut down kernels that you do not need (the square in a circle, at the "
    "left), and try again."
)


def limits() -> dict[str, dict[str, int]]:
    """`memory` and `disk` in bytes, and the number of `processes`: each with `used` and `limit`, if there is a limit.

    `memory` also has `kills`: the number of processes killed for lack of it.
    """
    found = {"memory": _memory(), "disk": _disk(), "processes": _processes()}
    return {name: one for name, one in found.items() if one}


def _memory() -> dict[str, int]:
    found = memory(GROUPS)
    if found is None:
        return {}
    # Versions 2 and 1 of control groups.
    counts = _fields(GROUPS / "memory.events") or _fields(GROUPS / "memory" / "memory.oom_control")
    return {"used": found[0], "limit": found[1], "kills": counts.get("oom_kill", 0)}


def _processes() -> dict[str, int]:
    place = next((one for one in (GROUPS, GROUPS / "pids") if (one / "pids.max").exists()), None)
    limit = _number(place / "pids.max") if place else 0
    return {"used": _number(place / "pids.current"), "limit": limit} if place and limit > 0 else {}


def _disk() -> dict[str, int]:
    """The home's usage, if it is a separate file system; else it would be the machine's, without a limit."""
    home = Path.home()
    try:
        if home.stat().st_dev == Path("/").stat().st_dev:
            return {}
        room = os.statvfs(home)
    except OSError:
        return {}
    limit = room.f_blocks * room.f_frsize
    return {"used": limit - room.f_bfree * room.f_frsize, "limit": limit} if limit else {}


def _number(path: Path) -> int:
    """The number in a file; 0 for "max" or a missing file."""
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0


def _fields(path: Path) -> dict[str, int]:
    with contextlib.suppress(OSError, ValueError):
        lines = (line.split() for line in path.read_text().splitlines())
        return {line[0]: int(line[1]) for line in lines if len(line) == 2}
    return {}


# --- Errors


def cause(error: BaseException | None) -> str:
    """A sentence about the limit that caused an error; "" for other errors."""
    for one in _chain(error):
        number = one.errno if isinstance(one, OSError) else None
        if number in (errno.ENOSPC, errno.EDQUOT):
            return _DISK.format(of=_of("disk", "MB"))
        if number == errno.ENOMEM or isinstance(one, MemoryError):
            return _MEMORY.format(of=_of("memory", "MB"))
        # fork(2) and pthread_create(3): the limit on processes also counts threads.
        if number == errno.EAGAIN or (isinstance(one, RuntimeError) and "start new thread" in str(one)):
            return _PROCESSES.format(of=_of("processes", ""))
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(_DEEPEST):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def _of(name: str, unit: str) -> str:
    limit = limits().get(name, {}).get("limit")
    if not limit:
        return ""
    return f" ({limit // (1 << 20)} {unit})" if unit else f" ({limit})"


def name_limits(handler: type[APIHandler]) -> None:
    """Make `handler`'s error answers name the exceeded limit, if any."""
    plain = handler.write_error

    def write_error(self: APIHandler, status_code: int, **options: Any) -> None:
        sentence = cause((options.get("exc_info") or (None, None))[1])
        if sentence:
            self.set_status(_INSUFFICIENT, "Insufficient Storage")
            options["exc_info"] = (web.HTTPError, web.HTTPError(_INSUFFICIENT, sentence.replace("%", "%%")), None)
            status_code = _INSUFFICIENT
        plain(self, status_code, **options)

    handler.write_error = write_error  # type: ignore[method-assign]


def keep_whole(contents: ContentsManager) -> None:
    """Make `contents` remove a new file that did not fit on the disk."""
    for name in ("_save_notebook", "_save_file"):  # of managers that keep files
        if save := getattr(contents, name, None):
            setattr(contents, name, _whole(save))


def _whole(save: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def whole(os_path: str, *arguments: Any, **options: Any) -> Any:
        new = not os.path.exists(os_path)  # noqa: ASYNC240, PTH110 - as quick as what Jupyter does here
        try:
            return await save(os_path, *arguments, **options)
        except Exception:
            if new:
                with contextlib.suppress(OSError):
                    os.unlink(os_path)  # noqa: PTH108
            raise

    return whole


# --- The extension


class LimitsHandler(APIHandler):
    """Answers with usage and limits."""

    @web.authenticated
    def get(self) -> None:
        """JSON, as `limits` says."""
        self.set_header("Cache-Control", "no-store")
        self.finish(json.dumps(limits()))


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    return [{"module": "tmpnb_limits"}]


def _load_jupyter_server_extension(server_app: ServerApp) -> None:
    name_limits(APIHandler)
    keep_whole(server_app.contents_manager)
    base = server_app.web_app.settings["base_url"]
    server_app.web_app.add_handlers(".*$", [(url_path_join(base, "tmpnb", "limits"), LimitsHandler)])
    server_app.web_app.settings.setdefault("page_config_data", {})["tmpnbLimits"] = url_path_join(
        base, "tmpnb", "limits"
    )
