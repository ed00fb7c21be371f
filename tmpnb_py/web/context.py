"""What every handler needs, assembled once by the composition root."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

from aiohttp import web

from tmpnb_py.core import binder_spec
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Links
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.idle import Limits
from tmpnb_py.proxy.cors import Cors
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.site import Site
from tmpnb_py.web.codes import Codes
from tmpnb_py.web.documents import Documents
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.notes_cache import NotesCache


class Predecessor(Protocol):
    """The process of before an upgrade, as long as it serves what was open then."""

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
    with: `secret` is then that of the process before, `predecessor` says what that one still has open.
    """

    def __init__(
        self,
        options: LiveOptions,
        site: Site,
        metrics: SiteMetrics,
        *,
        catalogue: Catalogue,
        documents: Documents,
        notes_cache: NotesCache,
        hosts: Derived[Hosts],
        branding: Branding,
    ) -> None:
        self.options = options
        self.site = site
        self.metrics = metrics
        self.catalogue = catalogue
        self.documents = documents
        self.notes_cache = notes_cache
        self.hosts = hosts
        self.branding = branding
        self.links = Links(options.current.base_url)
        self.codes = Codes(site.find)
        self.secret = secrets.token_bytes(32)  # for what must not outlive the service
        self.upgrade: Callable[[], Awaitable[int]] | None = None  # returns the new process's id
        self.predecessor: Callable[[], Predecessor | None] = lambda: None
        self.started_at = time.monotonic()
        self._limits = options.derive(Limits.of)
        self._cors = options.derive(Cors.of)
        self._binder_rules = options.derive(lambda settings: binder_spec.rules(settings.binder_spec))
        self._refused_names = options.derive(lambda _: set[str]())

    @property
    def limits(self) -> Limits:
        """When sessions end."""
        return self._limits.value

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

    @property
    def api_token(self) -> str:
        """The token that the visitors' API demands; "" for none."""
        return self.options.current.api_auth_token.get_secret_value()

    @property
    def admin_token(self) -> str:
        """The token that the admin listener demands; "" for none."""
        return self.options.current.admin_auth_token.get_secret_value()


CONTEXT = web.AppKey("context", Context)
