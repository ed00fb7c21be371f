"""What `status` and `drain --node` show and do of a swarm's nodes. They ask the running service."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import click
from rich.console import Console, RenderableType

from tmpnb_py.cli.commands.admin_client import AdminClient
from tmpnb_py.cli.commands.output import size, table
from tmpnb_py.core.errors import ServiceError
from tmpnb_py.core.models import NodePruned, NodeState, NodeTransfer
from tmpnb_py.web.api.schema import AdminNode

_POLL_SECONDS = 2.0
_COLUMNS = ("node", "state", "relay", "image", "isolation", "in use", "ready", "starting", "memory reserved")


def node_table(target: Console, nodes: Sequence[AdminNode]) -> RenderableType:
    """The nodes with their notebooks."""
    rows = [
        (
            one.name,
            one.state.value,
            "connected" if one.relay else "away",
            _image(one),
            _isolation(one),
            str(one.claimed),
            str(one.ready),
            str(one.starting),
            f"{size(one.reserved_bytes)} of {size(one.memory_bytes)}",
        )
        for one in nodes
    ]
    return table(target, _COLUMNS, rows, right=_COLUMNS[5:])


def _isolation(node: AdminNode) -> str:
    if node.missing is None:
        return "not known"
    return f"lacks {', '.join(node.missing)}" if node.missing else "verified"


def _image(node: AdminNode) -> str:
    if not node.image and node.pulling:
        return f"pulling: {node.pulling}"
    if not node.image and node.image_error:
        return "cannot be pulled"
    return {True: "there", False: "missing", None: "not known"}[node.image]


def pruned(told: NodePruned) -> str:
    """Which images were removed from a node, in a line."""
    if told.error:
        return f"{told.node}: {told.error}"
    named = (("removed", told.removed), ("in use", told.kept))
    parts = [f"{what} {', '.join(names)}" for what, names in named if names]
    return f"{told.node}: {'; '.join(parts) or 'nothing to remove'}"


def transferred(told: NodeTransfer) -> str:
    """How far an image is on its way to a node, in a line."""
    if told.is_pulled and not told.error:
        return f"{told.node}: has pulled {'it' if told.done else f'{told.layers} of {told.of} layers'}"
    if told.error and not told.of:
        return f"{told.node}: {told.error}"
    if told.error:
        return f"{told.node}: {told.error} (it has {told.layers} of {told.of} layers)"
    if told.done and not told.sent:
        return f"{told.node}: has it"
    if told.done:
        return f"{told.node}: has it now, {size(told.sent)} were sent"
    return f"{told.node}: {told.layers} of {told.of} layers are there, {size(told.sent)} sent"


async def activate(client: AdminClient, name: str) -> None:
    """Have a node take notebooks again."""
    found = await client.activate_node(name)
    click.echo(f"{found.name} takes notebooks again")


async def drain(client: AdminClient, name: str) -> None:
    """Pause a node, have its ready notebooks replaced elsewhere, and wait until its last session has ended."""
    node = await client.pause_node(name)
    if node.state is NodeState.DRAINING:
        click.echo(f"{node.name} is drained by Swarm already, which ends its notebooks at once")
    if not any(one.state is NodeState.ACTIVE for one in await client.nodes()):
        click.echo("no other node takes notebooks: newcomers get none until one does", err=True)
    try:
        await _until_empty(client, node)
    except asyncio.CancelledError:
        click.echo(f"{node.name} stays paused. {_how_to_go_on(node.name)}", err=True)
        raise
    click.echo(f"{node.name} is empty: its last session has ended. {_how_to_undo(node.name)}")


def _how_to_go_on(name: str) -> str:
    return f"tmpnb-py drain --node {name} goes on waiting; {_how_to_undo(name)}"


def _how_to_undo(name: str) -> str:
    return f"tmpnb-py drain --node {name} --undo has it take notebooks again."


async def _until_empty(client: AdminClient, node: AdminNode) -> None:
    """Wait, and say what changes. A service that goes away (for an update, say) is waited for."""
    told = ""
    while True:
        told = _say(_progress(node), told)
        await asyncio.sleep(_POLL_SECONDS)  # also at first: Swarm may have been placing one
        try:
            nodes = await client.nodes()
        except ServiceError as error:
            told = _say(error.message, told)
            continue
        found = next((one for one in nodes if one.id == node.id), None)
        if found is None and nodes:
            raise ServiceError(f"{node.name} has left the swarm")
        if found is None or found.state is NodeState.UNKNOWN:
            told = _say("the swarm's managers do not answer", told)
            continue
        node = found
        if node.state is NodeState.ACTIVE:
            raise ServiceError(f"{node.name} takes notebooks again: somebody else has activated it")
        if not node.claimed + node.ready + node.starting + node.removing:
            return
        if node.ready:  # it was starting when the node was paused
            with contextlib.suppress(ServiceError):
                await client.pause_node(node.id)


def _say(line: str, told: str) -> str:
    """Print a line unless it was the last one. Returns it."""
    if line != told:
        click.echo(line)
    return line


def _progress(node: AdminNode) -> str:
    parts = [f"{node.claimed} session{'' if node.claimed == 1 else 's'} left"]
    parts += [f"{count} {what}" for count, what in ((node.ready, "ready"), (node.starting, "starting")) if count]
    if node.removing:
        parts.append(f"{node.removing} being removed")
    return f"{node.name} is {node.state}: {', '.join(parts)}"
