"""The settings as each part takes them. Called by the composition root, at the start and at each reload."""

from __future__ import annotations

from collections.abc import Iterable

from tmpnb_py.core.branding import Branding, read_logo
from tmpnb_py.core.host_names import Hosts
from tmpnb_py.core.models import Egress
from tmpnb_py.options.settings import Settings
from tmpnb_py.proxy.cors import Cors
from tmpnb_py.proxy.limits import ProxyLimits
from tmpnb_py.workshops.manifest import Manifest, read_file

_LAST_MOMENT = 60.0  # what is being handed over when the wait ends is waited for


def branding(settings: Settings) -> Branding:
    """What the pages look like. Raises `SettingsError` where the logo can't be read."""
    return Branding(
        title=settings.site_title,
        logo=read_logo(settings.site_logo),
        accent=settings.accent_color,
        announcement=settings.announcement or "",
        footer=settings.site_footer or "",
        privacy=settings.privacy_notice or "",
    )


def workshops(settings: Settings) -> Manifest | None:
    """The operator's own list of workshops. Raises `ManifestError`."""
    return None if settings.workshops_file is None else read_file(settings.workshops_file)


def cors(settings: Settings) -> Cors:
    """What other sites' pages may do."""
    return Cors(
        origins=frozenset(settings.allow_origin + settings.tokenless_origin),
        tokenless=frozenset(settings.tokenless_origin),
        methods=settings.allow_methods or "",
        headers=settings.allow_headers or "",
        expose=settings.expose_headers or "",
        credentials=settings.allow_credentials,
        max_age=None if settings.max_age is None else int(settings.max_age),
    )


def has_network(settings: Settings, *, shared: bool) -> bool:
    """Whether notebooks may reach anything. `shared`: they have the machine's network in any case."""
    named = settings.docker_network is not None or settings.host_network
    return shared or named or settings.egress is not Egress.NONE


def hosts(settings: Settings, own: Iterable[str]) -> Hosts:
    """The names that are answered to; `own` are this machine's."""
    return Hosts(settings.allowed_hosts, (settings.ip, *own))


def proxy_limits(settings: Settings) -> ProxyLimits:
    """What one client may take."""
    return ProxyLimits(
        max_head_size=settings.max_head_size,
        max_connections=settings.max_connections,
        max_connections_per_address=settings.max_connections_per_address,
        head_timeout=settings.head_timeout,
        body_timeout=settings.body_timeout,
        write_timeout=settings.write_timeout,
        keepalive_timeout=settings.keepalive_timeout,
        proxy_keepalive_timeout=settings.proxy_keepalive_timeout,
        connect_timeout=settings.connect_timeout,
        response_timeout=settings.response_timeout,
        application_timeout=settings.max_wait + _LAST_MOMENT,
    )
