"""Gives commands the same user, runtime directory and engine as `serve`."""

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
    """The first place that a user cannot read; later imports need them. Called by root."""
    try:
        os.setegid(user.pw_gid)
        os.seteuid(user.pw_uid)
        return next((one for one in places if not os.access(one, os.R_OK | os.X_OK, effective_ids=True)), None)
    except PermissionError:
        return None  # a root that may not change its user fails in the next step
    finally:
        os.seteuid(0)
        os.setegid(0)


@contextlib.asynccontextmanager
async def opened_engine(settings: Settings, *, pool: str | None = None) -> AsyncIterator[Engine]:
    """Open the engine for the settings' pool, or for `pool`; close it on exit. Raises `EngineError`."""
    engine = (await choose(settings, os.environ)).make(pool or settings.pool_name)
    try:
        await engine.open()
        yield engine
    finally:
        await engine.close()


def as_the_service(settings: Settings) -> Settings:
    """If called by root, become the owner of the runtime directory for good. Raises `SettingsError`.

    Only so do commands work as the service does: it could not use files that root creates there, and commands should
    fail at what the service may not do. Returns settings that name the directory, as its default depends on the
    user. That user must be able to read all modules that are imported later.
    """
    path = settings.runtime_path
    settings = settings.model_copy(update={"runtime_dir": path})
    if os.geteuid() != 0 or not path.is_dir() or not (uid := path.lstat().st_uid):
        return settings
    try:
        user = pwd.getpwuid(uid)
    except KeyError as error:
        raise SettingsError(
            f"runtime_dir {path} belongs to the user {uid}, which does not exist on this machine",
            remedy="Run the command where the service runs, or choose another directory with --runtime-dir.",
        ) from error
    if unreadable := _unreadable_for(user, PACKAGE, Path(sys.prefix)):
        raise SettingsError(
            f"runtime_dir {path} belongs to {user.pw_name}, who cannot read this program in {unreadable}",
            remedy=f"Use the service's installation, or one that {user.pw_name} can read.",
        )
    try:
        os.setgroups(os.getgrouplist(user.pw_name, user.pw_gid))
        os.setgid(user.pw_gid)
        os.setuid(uid)
    except OSError as error:
        raise SettingsError(
            f"runtime_dir {path} belongs to {user.pw_name}, and this process may not switch to that user",
            remedy=f"Run the command as {user.pw_name}: runuser -u {user.pw_name} -- tmpnb-py …",
        ) from error
    return settings
