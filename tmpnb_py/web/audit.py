"""What is noted of a session when it begins: the workshop it counts for and, if the operator wants it, the client."""

from __future__ import annotations

from collections.abc import Iterable

from aiohttp import web

from tmpnb_py.headers import Network, is_trusted
from tmpnb_py.pool import Container
from tmpnb_py.web.context import CONTEXT


def session_begins(request: web.Request, container: Container, target: str) -> None:
    """A visitor is about to be told where their notebook is; called once per claim."""
    context = request.app[CONTEXT]
    if context.audit_client_address:
        container.client = client_address(request.headers.getall("X-Forwarded-For", ()), context.trusted_proxies)
    context.began(container, context.metrics.opened(target))


def client_address(forwarded: Iterable[str], trusted: Iterable[Network]) -> str:
    """The last address that no proxy of ours has: what stands before it, anybody can have written.

    `forwarded` are the values of `X-Forwarded-For` as our own proxy passes them on, its peer's address last.
    """
    networks = tuple(trusted)
    hops = [hop.strip() for value in forwarded for hop in value.split(",")]
    foreign = [hop for hop in hops if hop and not is_trusted(hop, networks)]
    return (foreign or hops or [""])[-1]
