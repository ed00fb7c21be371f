"""What every handler needs, assembled once by the composition root."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from aiohttp import web

from tmpnb_py.core import binder_spec
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Links
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import Limits
from tmpnb_py.proxy.cors import Cors
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.offers import Offers
from tmpnb_py.site.site import Site
from tmpnb_py.tracing.spans import Tracing
from tmpnb_py.web.codes import Codes
from tmpnb_py.web.documents import Documents


class Former(Protocol):
    """A process of before an upgrade, as long as it serves what was open then."""

    @property
    def pid(self) -> int: ...

    @property
    def version(self) -> str: ...

    @property
    def since(self) -> float: ...

    @property
    def connections(self) -> int: ...

    @property
    def websockets(self) -> int: ...


class Context:
    """The services behind the pages, and the options, which a handler reads when it answers.

    The composition root replaces `branding` when the operator's files are read again, and what an upgrade has to do
    with: `secret` is then that of the process before, `formers` says what those of before still have open.
    """

    def __init__(
        self,
        options: LiveOptions,
        site: Site,
        metrics: SiteMetrics,
        *,
        offers: Offers,
        documents: Documents,
        hosts: Derived[Hosts],
        branding: Branding,
    ) -> None:
        self.options = options
        self.site = site
        self.metrics = metrics
        self.offers = offers
        self.documents = documents
        self.hosts = hosts
        self.branding = branding
        self.links = Links(options.current.base_url)
        self.codes = Codes(site.find)
        self.secret = secrets.token_bytes(32)  # for what must not outlive the service
        self.upgrade: Callable[[], Awaitable[int]] | None = None  # returns the new process's id
        self.formers: Callable[[], Sequence[Former]] = tuple
        self.own_url: Callable[[], str] = lambda: "http://localhost:8000/"  # of this machine's own first page
        self.tracing: Tracing | None = None  # None: nothing is traced
        self.started_at = time.monotonic()
        self._cors = options.derive(Cors.of)
        self._binder_rules = options.derive(lambda settings: binder_spec.rules(settings.binder_spec))
        self._refused_names = options.derive(lambda _: set[str]())

    def limits_of(self, container: Container) -> Limits:
        """When a session ends: by its pool's options, and later where its class was prolonged."""
        offer = self.offers.of(container)
        return offer.limits.value.longer_by(offer.pool.extension(container.id))

    @property
    def cors(self) -> Cors:
        """What pages of other sites may do."""
        return self._cors.value

    @property
    def binder_rules(self) -> Mapping[str, str]:
        """The repositories that clients of BinderHub may ask for, with the workshop that each gets."""
        return self._binder_rules.value

    @property
    def refused_names(self) -> set[str]:
        """The host names whose refusal has been logged since the start or the last reload."""
        return self._refused_names.value

    def public_url(self, path: str) -> str:
        """A page as people elsewhere reach it, by its path on the host (`links`)."""
        options = self.options.current
        named = next((one for one in options.allowed_hosts if "*" not in one), "")
        first = options.public_url or (f"https://{named}{self.links.base}" if named else self.own_url())
        return first + path.removeprefix(self.links.base)

    def is_stopping(self) -> bool:
        """Whether the service serves nobody any more: asked by streams, so that they end before it does."""
        return self.site.default_claims.stopping

    @property
    def language(self) -> str:
        """The language of the pages, or that each browser's is taken."""
        return self.options.current.language

    @property
    def api_token(self) -> str:
        """The token that the visitors' API demands; "" for none."""
        return self.options.current.api_auth_token.get_secret_value()

    @property
    def admin_token(self) -> str:
        """The token that the admin listener demands; "" for none."""
        return self.options.current.admin_auth_token.get_secret_value()


CONTEXT = web.AppKey("context", Context)
