"""Who a visitor is, as far as the operator wants it noted: what they begin with, and the address they come from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

from aiohttp import web

from tmpnb_py.core.quota_keys import plain_address, quota_key_of
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.header_rules import Network, is_trusted
from tmpnb_py.web.access import shows_api_token
from tmpnb_py.web.context import CONTEXT


def session_begins(request: web.Request, container: Container, target: str) -> None:
    """A visitor is about to be told where their notebook is; called once per claim."""
    context = request.app[CONTEXT]
    client = _address(request) if context.options.current.audit_client_address else ""
    context.site.session_started(container, workshop=context.catalogue.workshop_of(target), client=client)


def visitor_origin(request: web.Request) -> str:
    """Whom a notebook counts for: "" where their number is not limited, or a program shows the API's token.

    The address itself is not kept, only what a secret of this process makes of it.
    """
    context = request.app[CONTEXT]
    if not context.options.current.max_notebooks_per_address or shows_api_token(request):
        return ""
    return hmac.new(context.secret, quota_key_of(_address(request)).encode(), hashlib.sha256).hexdigest()[:32]


def _address(request: web.Request) -> str:
    trusted = request.app[CONTEXT].options.current.trusted_proxies
    address = client_address(request.headers.getall("X-Forwarded-For", ()), trusted)
    return address.encode(errors="backslashreplace").decode()  # it is any bytes, where a trusted proxy passes them on


def client_address(forwarded: Iterable[str], trusted: Iterable[Network]) -> str:
    """The last address that no proxy of ours has: what stands before it, anybody can have written.

    `forwarded` are the values of `X-Forwarded-For` as our own proxy passes them on, its peer's address last.
    """
    networks = tuple(trusted)
    hops = [plain_address(hop.strip()) for value in forwarded for hop in value.split(",")]
    foreign = [hop for hop in hops if hop and not is_trusted(hop, networks)]
    return (foreign or hops or [""])[-1]
