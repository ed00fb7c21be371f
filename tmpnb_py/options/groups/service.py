"""The service as a process: its log, its end, its directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator

from tmpnb_py.core.units import DAY
from tmpnb_py.options import values
from tmpnb_py.options.declaration import Group, Reload, option
from tmpnb_py.options.kinds import Kind, Quantity

_SYSTEM_DIRECTORY = Path("/run/tmpnb-py")
_SYSTEM_STATE = Path("/var/lib/tmpnb-py")


class ServiceOptions(Group):
    """Options of the process."""

    title: ClassVar[str] = "Service"

    log_format: Literal["auto", "console", "json"] = option(
        "auto",
        "Format of the log: readable (console), one JSON object per line (json), or readable on a terminal and JSON "
        "elsewhere (auto).",
        reload=Reload.RESTART,
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", "Lowest severity that is logged.", reload=Reload.AT_ONCE
    )
    audit_client_address: bool = option(
        False,
        "Whether the log's session events (session_started, session_ended) contain the client's address.",
        reload=Reload.AT_ONCE,
    )
    cleanup_on_exit: bool = option(
        False,
        "Whether stopping removes every container of the pool; otherwise they stay.",
        reload=Reload.AT_ONCE,
    )
    shutdown_timeout: Annotated[float, Quantity(Kind.DURATION, 0, DAY)] = option(
        10.0, "Time for open requests to finish on shutdown (duration).", reload=Reload.AT_ONCE
    )
    upgrade_timeout: Annotated[float, Quantity(Kind.DURATION, 0, DAY)] = option(
        3600.0,
        "How long the process of before an upgrade serves what was open then (WebSockets, long downloads) before it "
        "closes that; pages connect anew by themselves (duration).",
        reload=Reload.AT_ONCE,
    )
    runtime_dir: Annotated[Path | None, BeforeValidator(values.read_path)] = option(
        None,
        "Directory for sockets, the pool's lock and the static files that notebooks share.",
        unset="/run/tmpnb-py as root or where it is yours, else $XDG_RUNTIME_DIR/tmpnb-py or /tmp/tmpnb-py-<uid>",
        reload=Reload.RESTART,
    )
    state_dir: Annotated[Path | None, BeforeValidator(values.read_path)] = option(
        None,
        "Directory for what must outlive a reboot: bookings, announcements and counts. It is made when there is "
        "something to keep.",
        unset="/var/lib/tmpnb-py as root or where it is yours, else $XDG_STATE_HOME/tmpnb-py or "
        "~/.local/state/tmpnb-py",
        reload=Reload.RESTART,
    )

    @property
    def runtime_path(self) -> Path:
        """The directory for sockets and the lock. Whoever creates it has to check its owner and mode."""
        otherwise = f"/tmp/tmpnb-py-{os.geteuid()}"  # noqa: S108
        return self.runtime_dir or _directory(_SYSTEM_DIRECTORY, "XDG_RUNTIME_DIR", otherwise)

    @property
    def state_path(self) -> Path:
        """The directory for what must outlive a reboot; its owner and mode have to be checked, too."""
        return self.state_dir or _directory(_SYSTEM_STATE, "XDG_STATE_HOME", "~/.local/state/tmpnb-py")


def _directory(system: Path, variable: str, otherwise: str) -> Path:
    """The system's for root and for whoever it belongs to, else one below the directory that a variable names."""
    if os.geteuid() == 0 or _owner(system) == os.geteuid():
        return system
    base = os.environ.get(variable, "")
    # The XDG base directory specification: a relative path is invalid and is to be ignored.
    return Path(base, "tmpnb-py") if base.startswith("/") else Path(otherwise).expanduser()


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None
