"""Adapts the settings to the local engine, and refuses those that it cannot honour.

The local engine is the default without any trace of Docker. It may run on the machine of somebody who is only trying
it out: so strangers may connect only with an explicit `--engine local` and a sandbox.
"""

from __future__ import annotations

import structlog

from tmpnb_py.core.errors import ImageMissingError, SettingsError
from tmpnb_py.core.models import Egress
from tmpnb_py.engines.local.engine import COMMAND
from tmpnb_py.engines.local.machine import python_versions
from tmpnb_py.engines.local.sandbox import Sandbox
from tmpnb_py.options.risks import is_loopback
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import refused

_LOOPBACK = "127.0.0.1"

_log = structlog.get_logger(__name__)


def need_jupyterlab(settings: Settings) -> None:
    """Raise `ImageMissingError` if this machine has no JupyterLab to run."""
    try:
        python_versions()
    except ImageMissingError as error:
        if settings.engine == "local":
            raise
        message = f"no Docker engine was found, and {error.message}"
        raise ImageMissingError(message, remedy=f"{error.remedy}; or install Docker") from error


def for_local_engine(settings: Settings, sandbox: Sandbox | None, reason: str) -> Settings:
    """Adapt the settings. Raises `SettingsError` for what the local engine can't or must not do.

    `reason` says why there is no sandbox.
    """
    _refuse_other_ways(settings)
    if sandbox is not None:
        _refuse_open_network(settings)
    else:
        _refuse_web_proxy(settings, reason)
    address = _address(settings, sandbox, reason)
    if address != settings.ip:
        _log.info("listening_locally", ip=address, hint=_hint(sandbox, reason))
    return settings.model_copy(update={"ip": address, "command": settings.command or COMMAND})


def _address(settings: Settings, sandbox: Sandbox | None, reason: str) -> str:
    if is_loopback(settings.ip) or (sandbox is not None and settings.engine == "local"):
        return settings.ip
    if "ip" not in settings.model_fields_set:
        return _LOOPBACK
    if sandbox is None:
        raise SettingsError(
            f"--ip: {settings.ip} would let other people run programs as this user, as notebooks are not protected "
            f"here: {reason}",
            remedy="Install bubblewrap (apt-get install bubblewrap) or Docker, or omit --ip and keep it to "
            "yourself on 127.0.0.1.",
        )
    raise SettingsError(
        f"--ip: no Docker engine was found, and {settings.ip} would let other people run programs on this machine",
        remedy="Add --engine local if that is what you want; or install Docker; or omit --ip.",
    )


def _hint(sandbox: Sandbox | None, reason: str) -> str:
    if sandbox is None:
        return f"notebooks are not protected from each other: {reason}"
    return "only this machine can connect; an explicit --engine local opens it to others"


def _refuse_other_ways(settings: Settings) -> None:
    odd = refused(settings, "local")
    if settings.transport not in ("auto", "socket"):
        odd.append("transport")
    if "{port}" in (settings.command or ""):
        odd.append("command")
    if odd:
        flags = ", ".join(OPTIONS[name].flag for name in odd)
        raise SettingsError(
            f"notebooks of the local engine are reached by Unix sockets only, which conflicts with {flags}",
            remedy="Omit that (in a command write {socket} instead of {port}), or use Docker.",
        )


def _refuse_web_proxy(settings: Settings, reason: str) -> None:
    if settings.egress is Egress.WEB:
        raise SettingsError(
            f"--egress web: without a sandbox notebooks reach whatever this machine reaches: {reason}",
            remedy="Install bubblewrap (apt-get install bubblewrap) or Docker, or leave --egress out.",
        )


def _refuse_open_network(settings: Settings) -> None:
    """Refuse an open network: a sandbox would share the machine's, including the admin listener on its loopback."""
    if settings.egress is not Egress.INTERNET:
        return
    if not settings.opens_everything:
        raise SettingsError(
            "--egress: with the local engine notebooks would share this machine's network: they would reach its own "
            "services and everything that it can reach, not only the public internet",
            remedy="Add --egress-allow '*' if that is what you want; or use Docker.",
        )
    if not settings.admin_auth_token.get_secret_value():
        raise SettingsError(
            "--egress: with the local engine notebooks would share this machine's network, and could use the admin "
            "listener, which demands no token",
            remedy="Set ADMIN_AUTH_TOKEN to a secret in the environment.",
        )
