"""What every handler needs, put together once by the composition root, and the views made from it."""

from __future__ import annotations

import dataclasses
import datetime
import functools
import hmac
import math
import secrets
import time
from collections.abc import Callable, Mapping

from aiohttp import web

from tmpnb_py import __version__
from tmpnb_py.core import binder_spec
from tmpnb_py.core.branding import Branding
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.links import Links
from tmpnb_py.core.models import Failure, State
from tmpnb_py.core.routes import INTERFACES, document_target, needs_network
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.configuration import has_network
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import Limits, expires_at
from tmpnb_py.proxy.cors import Cors
from tmpnb_py.site.metrics import SiteMetrics
from tmpnb_py.site.site import Site
from tmpnb_py.web.api.schema import AdminSession, LastFailure, Session, Stats
from tmpnb_py.web.endings import how_it_ended
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.notes_cache import NotesCache


@dataclasses.dataclass(slots=True)
class Context:
    """The services behind the pages, and the options: a handler reads them when it answers.

    `branding` is replaced where the operator's files are read again.
    """

    options: LiveOptions
    site: Site
    metrics: SiteMetrics
    catalogue: Catalogue
    notes_cache: NotesCache
    hosts: Derived[Hosts]
    shares_network: bool = True
    links: Links = dataclasses.field(default_factory=Links)
    branding: Branding = dataclasses.field(default_factory=Branding)
    secret: bytes = dataclasses.field(default_factory=lambda: secrets.token_bytes(32))
    now: Callable[[], float] = time.monotonic
    started_at: float = dataclasses.field(default_factory=time.monotonic)
    _limits: Derived[Limits] = dataclasses.field(init=False)
    _cors: Derived[Cors] = dataclasses.field(init=False)
    _binder_rules: Derived[Mapping[str, str]] = dataclasses.field(init=False)
    _refused_names: Derived[set[str]] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self._limits = self.options.derive(Limits.of)
        self._cors = self.options.derive(Cors.of)
        self._binder_rules = self.options.derive(lambda settings: binder_spec.rules(settings.binder_spec))
        self._refused_names = self.options.derive(lambda _: set())

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

    @property
    def known_interfaces(self) -> tuple[str, ...]:
        """What links may open, by the first part of the path: Jupyter's, the operator's and the image's."""
        image = self.catalogue.image
        return (*INTERFACES, *self.options.current.interfaces, *(() if image is None else image.interfaces))

    def target(self, wish: str) -> str:
        """A visitor's wish below a notebook's base path, "" being where the operator lets notebooks open.

        Before an image has said what it has, nothing is known to be missing. Raises `ValueError`, and
        `NoNetworkError` for what could only fail in a notebook that reaches nothing.
        """
        if not wish:
            return document_target(self.options.current.redirect_uri, None)
        target = document_target(wish, None if self.catalogue.image is None else self.known_interfaces)
        if not has_network(self.options.current, shared=self.shares_network) and needs_network(target):
            raise NoNetworkError("it fetches files over the network, which notebooks here do not have")
        return target


class NoNetworkError(ValueError):
    """A link that cannot work where notebooks have no network."""


CONTEXT = web.AppKey("context", Context)


def moment(at: float | None, *, epoch: float | None = None) -> datetime.datetime | None:
    """A monotonic moment as UTC, in whole seconds; None for never.

    `epoch` is what `monotonic_epoch` gave: moments that readers compare take the same, so that equal ones stay equal.
    """
    if at is None or not math.isfinite(at):
        return None
    unix = at + (monotonic_epoch() if epoch is None else epoch)
    return datetime.datetime.fromtimestamp(round(unix), datetime.UTC)


def monotonic_epoch() -> float:
    """When the monotonic clock was 0, in Unix time; a little different whenever it is asked for."""
    return time.time() - time.monotonic()


def session_of(context: Context, container_id: str) -> Session | None:
    """A session by its id: running, or ended and still remembered; None for what was never a visitor's."""
    container = context.site.find(container_id)
    if container is not None and container.claimed_at is not None:
        return Session.model_validate(_facts(context, container))
    ended = context.site.ended(container_id)
    if ended is None:
        return None
    message = how_it_ended(ended.reason)
    return Session(id=container_id, state=State.REMOVING, reason=ended.reason, message=message)


def admin_session(context: Context, container: Container) -> AdminSession:
    """A session as the operator sees it."""
    facts = _facts(context, container)
    more = {"visited": container.visited, "open_connections": container.open_connections}
    return AdminSession.model_validate({**facts, **more})


def _facts(context: Context, container: Container) -> dict[str, object]:
    evidence = container.evidence
    claimed = container.state is State.CLAIMED
    limits = context.limits
    end = expires_at(evidence, limits, time.monotonic()) if claimed else None
    latest = evidence.claimed_at + limits.maximum if claimed and limits.maximum > 0 else None
    tell = functools.partial(moment, epoch=monotonic_epoch())
    return {
        "id": container.id,
        "state": container.state,
        "now": tell(time.monotonic()),
        "started": tell(container.claimed_at),
        "last_activity": tell(evidence.last_activity),
        "expires_at": tell(end),
        "ends_at": tell(latest),
        "idle_timeout": limits.timeout if claimed and limits.timeout > 0 else None,
        "reason": container.reason,
        "message": None if container.reason is None else how_it_ended(container.reason),
    }


def stats_of(context: Context) -> Stats:
    """The pool in numbers."""
    pool = context.site.pool_for().status
    return Stats(
        available=pool.count(State.READY),
        capacity=pool.capacity,
        version=__version__,
        container_image=context.options.current.image,
        pool_size=pool.size,
        starting=pool.count(State.STARTING),
        claimed=pool.count(State.CLAIMED),
        removing=pool.count(State.REMOVING),
        waiting=pool.waiting,
        cause=pool.failure.kind.value if pool.failure is not None else None,
    )


def failure_of(context: Context) -> LastFailure | None:
    """The failure that keeps containers from becoming ready now, with all that is known of it."""
    failure = context.site.pool_for().failure
    return None if failure is None else described(failure)


def described(failure: Failure) -> LastFailure:
    """A failure as the operator sees it."""
    at = moment(failure.at) or datetime.datetime.now(datetime.UTC)
    return LastFailure(cause=failure.kind.value, message=failure.message, at=at, log_lines=failure.log_lines)


def presented_token(request: web.Request) -> str:
    """The token of an `Authorization: token …` (tmpnb's and Jupyter's form) or `Bearer …` header."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() in ("token", "bearer") else ""


def same_token(presented: str, expected: str) -> bool:
    """Compare in constant time. What was presented may be any bytes, as aiohttp decodes headers."""
    return hmac.compare_digest(presented.encode(errors="surrogateescape"), expected.encode())
