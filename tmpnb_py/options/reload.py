"""Which options a running service can change, and what differs between two readings of them. Pure.

Used by the composition root on SIGHUP. An option that is not named here needs a restart, which costs nobody a
notebook: they stay, and the next process takes them up.
"""

from __future__ import annotations

import dataclasses

from tmpnb_py.options.settings import Settings

# What a container is made of: the pool is renewed, those in use stay as they are.
CONTAINERS = frozenset(
    (
        "image", "command", "transport", "egress", "egress_allow", "accept_missing", "mem_limit", "cpu_quota",
        "cpu_shares", "pids_limit", "home_size", "tmp_size", "shm_size", "use_tokens", "container_user",
        "host_directories", "extra_hosts",
    )
)  # fmt: skip
POOL = frozenset(
    (
        "pool_size",
        "max_containers",
        "start_concurrency",
        "start_timeout",
        "ready_max_age",
        "max_waiting",
        "max_wait",
        "place_lease",
        "max_notebooks_per_address",
    )
)
CULL = frozenset(("cull_timeout", "cull_disconnected", "cull_busy", "cull_unvisited", "cull_max"))
PROXY = frozenset(
    (
        "allowed_hosts",
        "head_timeout",
        "body_timeout",
        "write_timeout",
        "keepalive_timeout",
        "proxy_keepalive_timeout",
        "connect_timeout",
        "response_timeout",
        "max_connections",
        "max_connections_per_address",
    )
)
SERVICE = frozenset(
    (
        "log_level",
        "cleanup_on_exit",
        "shutdown_timeout",
        "redirect_uri",
        "interfaces",
        "admin_auth_token",
        "audit_client_address",
    )
)
LOOK = frozenset(
    (
        "site_title",
        "site_logo",
        "accent_color",
        "announcement",
        "site_footer",
        "privacy_notice",
        "workshops_file",
        "remember_sessions",
    )
)
OTHER_SITES = frozenset(
    (
        "allow_origin",
        "tokenless_origin",
        "frame_ancestors",
        "binder_spec",
        "allow_methods",
        "allow_headers",
        "expose_headers",
        "allow_credentials",
        "max_age",
    )
)
RELOADED = CONTAINERS | POOL | CULL | PROXY | OTHER_SITES | LOOK | SERVICE


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """What to run with from now on, and the names of the options that changed: in force, and only after a restart."""

    settings: Settings
    changed: tuple[str, ...]
    restart: tuple[str, ...]


def compare(old: Settings, new: Settings) -> Change:
    """The new settings as far as a running service can take them on."""
    names = [name for name in Settings.model_fields if getattr(old, name) != getattr(new, name)]
    changed = tuple(name for name in names if name in RELOADED)
    restart = tuple(name for name in names if name not in RELOADED)
    settings = new.model_copy(update={name: getattr(old, name) for name in restart})
    return Change(settings, changed, restart)
