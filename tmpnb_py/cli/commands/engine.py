"""What a command needs to work as `serve` does: its user, its runtime directory, its engine."""

from __future__ import annotations

import contextlib
import os
import pwd
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.installation import PACKAGE
from tmpnb_py.engines.base import Engine
from tmpnb_py.engines.registry import choose
from tmpnb_py.options.settings import Settings


def _unreadable_for(user: pwd.struct_passwd, *places: Path) -> Path | None:
    """The first of the places that a user cannot look into; called by root. What is loaded later lies there."""
    try:
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        return next((one for one in places if not os.access(one, os.R_OK | os.X_OK, effective_ids=True)), None)
    except PermissionError:
        return None  # a root without the right to become somebody is told so by the next step
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.asynccontextmanager
async def opened_engine(settings: Settings, *, pool: str | None = None) -> AsyncIterator[Engine]:
    """The engine, for the settings' pool or another one. Raises `EngineError`."""
    engine = (await choose(settings, os.environ, pool=pool)).engine
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()


def as_the_service(settings: Settings) -> Settings:
    """Called by root, become the user to whom the runtime directory belongs, for good. Raises `SettingsError`.

    Only that user finds and leaves everything as the service does: files that root makes there would be refused to
    it, and what the service may not do should fail here too. Returns settings that name the directory, because the
    default depends on the user. What is imported later has to be readable for that user.
    """
    path = settings.runtime_path
    settings = settings.model_copy(update={"runtime_dir": path})
    if os.geteuid() != 0 or not path.is_dir() or not (uid := path.lstat().st_uid):
        return settings
    try:
        user = pwd.getpwuid(uid)
    except KeyError as error:
        raise SettingsError(
            f"runtime_dir {path} belongs to the user {uid}, whom this machine does not know",
            remedy="Run the command where the service runs, or choose another directory with --runtime-dir.",
        ) from error
    if unreadable := _unreadable_for(user, PACKAGE, Path(sys.prefix)):
        raise SettingsError(
            f"runtime_dir {path} belongs to {user.pw_name}, who cannot read {unreadable}, where this program is",
            remedy=f"Use the installation that the service uses, or run one of {user.pw_name}'s own.",
        )
    try:
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setgid(user.pw_gid)
        os.setuid(uid)
    except OSError as error:
        raise SettingsError(
            f"runtime_dir {path} belongs to {user.pw_name}, whom this process may not become",
            remedy=f"Run the command as {user.pw_name}: runuser -u {user.pw_name} -- tmpnb-py …",
        ) from error
    return settings
