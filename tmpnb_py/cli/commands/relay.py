"""`relay`: the service that runs on every node of a swarm, for the Swarm engine."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from pathlib import Path
from typing import Any

import click


@click.command()
@click.option(
    "--secret",
    envvar="TMPNB_SWARM_SECRET",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("/run/secrets/relay"),
    show_default=True,
    help="File with the private key and the certificate that the service and all relays share.",
)
@click.option("--ip", default="0.0.0.0", show_default=True, help="Address to listen on.")
@click.option("--port", default=7443, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 picks one.")
@click.option(
    "--log-format",
    default="auto",
    type=click.Choice(["auto", "console", "json"]),
    show_default=True,
    help="How the log is written; auto is console on a terminal, else json.",
)
def relay(secret: Path, ip: str, port: int, log_format: str) -> None:
    """Serve one node of a Docker Swarm to the service (see docs/swarm.md).

    It needs the node's engine (DOCKER_HOST, else /var/run/docker.sock) and root, and obeys only who has the secret.
    """
    from tmpnb_py.core import logs  # noqa: PLC0415 - keeps `--help` quick

    logs.configure(log_format, "info")
    import uvloop  # noqa: PLC0415

    with contextlib.suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(secret, ip, port))


async def _serve(secret: Path, ip: str, port: int) -> None:
    import structlog  # noqa: PLC0415 - keeps `--help` quick

    from tmpnb_py.engines.swarm.api import EngineApi  # noqa: PLC0415
    from tmpnb_py.engines.swarm.link.tls import Contexts  # noqa: PLC0415
    from tmpnb_py.engines.swarm.relay.node import NodeEngine  # noqa: PLC0415
    from tmpnb_py.engines.swarm.relay.server import Relay  # noqa: PLC0415
    from tmpnb_py.service.open_files import raise_open_files_limit  # noqa: PLC0415

    raise_open_files_limit()  # two for each connection to a notebook, of all visitors of this node
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    api = EngineApi()
    await api.open()
    try:
        async with Relay(NodeEngine(api), Contexts(secret)).serving(ip, port) as bound:
            structlog.get_logger(__name__).info("relay_listening", ip=ip, port=bound)
            await stopped.wait()
    finally:
        await api.close()


COMMANDS: tuple[Any, ...] = (relay,)
