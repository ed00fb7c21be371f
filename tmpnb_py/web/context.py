"""What every handler needs, assembled once by the composition root."""

from __future__ import annotations

import dataclasses
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from tmpnb_py.claims.claims import Claims
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.host_names import ALL_HOSTS, Hosts
from tmpnb_py.core.links import Links
from tmpnb_py.core.routes import INTERFACES, document_target, needs_network
from tmpnb_py.pools.idle import Limits
from tmpnb_py.pools.metrics import Metrics
from tmpnb_py.pools.operations import Operations
from tmpnb_py.pools.pool import Container, Pool
from tmpnb_py.proxy.cors import NO_OTHER_SITES, Cors
from tmpnb_py.proxy.header_rules import Network
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.notes_cache import NotesCache


@dataclasses.dataclass(slots=True)
class Context:
    """The services behind the pages, and the options that a reload replaces: whoever answers reads them anew."""

    pool: Pool
    claims: Claims
    operations: Operations
    metrics: Metrics
    catalogue: Catalogue
    notes_cache: NotesCache
    limits: Limits
    image: str
    max_wait: float
    redirect_uri: str = ""
    interfaces: tuple[str, ...] = ()
    has_network: bool = True
    api_token: str = ""
    cors: Cors = NO_OTHER_SITES
    frame_ancestors: tuple[str, ...] = ()
    binder_rules: Mapping[str, str] = dataclasses.field(default_factory=dict)
    admin_token: str = ""
    hosts: Hosts = ALL_HOSTS
    links: Links = dataclasses.field(default_factory=Links)
    refused_names: set[str] = dataclasses.field(default_factory=set)
    began: Callable[[Container, str], None] = lambda _container, _workshop: None
    audit_client_address: bool = False
    trusted_proxies: tuple[Network, ...] = ()
    remember_sessions: bool = True
    branding: Branding = dataclasses.field(default_factory=Branding)
    secret: bytes = dataclasses.field(default_factory=lambda: secrets.token_bytes(32))
    now: Callable[[], float] = time.monotonic
    started_at: float = dataclasses.field(default_factory=time.monotonic)

    @property
    def known_interfaces(self) -> tuple[str, ...]:
        """What links may open, by the first part of the path: Jupyter's, the operator's and the image's."""
        image = self.catalogue.image
        return (*INTERFACES, *self.interfaces, *(() if image is None else image.interfaces))

    def target(self, wish: str) -> str:
        """A visitor's wish below a notebook's base path, "" being where the operator lets notebooks open.

        Before an image has said what it has, nothing is known to be missing. Raises `ValueError`, and
        `NoNetworkError` for what could only fail in a notebook that reaches nothing.
        """
        if not wish:
            return document_target(self.redirect_uri, None)
        target = document_target(wish, None if self.catalogue.image is None else self.known_interfaces)
        if not self.has_network and needs_network(target):
            raise NoNetworkError("it fetches files over the network, which notebooks here do not have")
        return target


class NoNetworkError(ValueError):
    """A link that cannot work where notebooks have no network."""


CONTEXT = web.AppKey("context", Context)
