"""`front`: a stateless proxy on every node, in front of one orchestrator."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from tmpnb_py.cli.options import SettingsCommand, read, with_settings

# The options of `tmpnb-py front`; of the others, those that matter are told by the orchestrator.
_OPTIONS = (
    "ip", "port", "admin_ip", "admin_port", "base_url",
    "front_orchestrator", "front_secret", "front_wait", "swarm_relays", "swarm_secret",
    "trusted_proxies", "max_head_size", "head_timeout", "body_timeout", "write_timeout", "keepalive_timeout",
    "proxy_keepalive_timeout", "connect_timeout", "response_timeout", "max_connections",
    "max_connections_per_address",
    "site_title", "site_logo", "accent_color", "announcement", "site_footer",
    "log_format", "log_level", "shutdown_timeout",
)  # fmt: skip


@click.command(cls=SettingsCommand)
@with_settings(_OPTIONS)
@click.pass_context
def front(ctx: click.Context, config: str | None) -> None:
    """Lead visitors to notebooks and to the service, from any machine (see docs/swarm.md).

    It learns from the service where notebooks are, and goes on serving them while that is away. It obeys only a
    service that has the same secret. The service needs --front-port.
    """
    from tmpnb_py.core import logs  # noqa: PLC0415 - keeps `--help` quick
    from tmpnb_py.service.hangup import Hangup  # noqa: PLC0415

    hangup = Hangup()
    settings = read(ctx, config).settings
    logs.configure(settings.log_format, settings.log_level)
    import uvloop  # noqa: PLC0415

    from tmpnb_py.service.front import serve_front  # noqa: PLC0415

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve_front(settings, lambda: read(ctx, config).settings, hangup))


COMMANDS: tuple[Any, ...] = (front,)
