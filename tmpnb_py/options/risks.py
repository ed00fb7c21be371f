"""What the options allow but operators seldom intend: warnings at the start and on a reload. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from tmpnb_py.core import quota_keys
from tmpnb_py.core.host_names import EVERY_NAME, SessionHosts, is_loopback_name
from tmpnb_py.options.settings import Settings


def risks(settings: Settings) -> list[str]:
    """Warn of what is allowed but probably not intended."""
    warnings = []
    if not settings.admin_auth_token.get_secret_value() and not is_loopback(settings.admin_ip):
        warnings.append(
            f"The admin listener on {settings.admin_ip} answers only this machine's loopback address, as it has no "
            "token: set ADMIN_AUTH_TOKEN, or leave admin_ip at 127.0.0.1."
        )
    if any(network.prefixlen == 0 for network in settings.trusted_proxies):
        warnings.append("trusted_proxies holds every address: any visitor can forge the address in the logs.")
    if settings.trusted_proxies and not settings.allowed_hosts:
        warnings.append(
            "trusted_proxies without allowed_hosts: requests for the proxy's host name get 421. Name it in "
            "allowed_hosts."
        )
    return [*warnings, *_neighbours(settings), *_loosened(settings)]


def _neighbours(settings: Settings) -> Iterator[str]:
    """Warn of hosts of notebooks that are below the same domain as one of the service's."""
    sessions = SessionHosts.of(settings.session_host or "")
    for host in settings.allowed_hosts:
        if sessions is not None and (shared := sessions.shared_with(host.removeprefix("*."))):
            yield (
                f"session_host: notebooks and {host} are both below {shared}, so a notebook's page can make cookies "
                f"for {host}. Give notebooks a domain of their own (unless {shared} is a public suffix, like co.uk)."
            )


def _loosened(settings: Settings) -> Iterator[str]:
    """Warn of each option that weakens the isolation of visitors or the protection of the host."""
    if settings.host_network:
        yield "host_network: every notebook reaches each service of this machine, and the other notebooks."
    if not settings.host_network and not is_loopback(settings.container_ip):
        yield f"container_ip {settings.container_ip}: whoever reaches it gets to the notebooks past this service."
    if settings.container_user.partition(":")[0] in ("0", "root"):
        yield f"container_user {settings.container_user}: commands run as root in their container."
    for mount in settings.host_directories:
        if _shows_the_engine(mount.source):
            yield f"host_directories {mount.source}: gives every visitor power over this whole machine."
        elif not mount.read_only:
            yield f"host_directories {mount.source}: every visitor may change it; :ro after it prevents that."
    if settings.opens_everything:
        yield "egress_allow *: notebooks reach whatever this machine reaches, and its own services."
    yield from _opened(settings)


def _opened(settings: Settings) -> Iterator[str]:
    """Warn of each option that lets strangers, or their pages, do more."""
    if not settings.use_tokens:
        yield "use_tokens is off: whoever learns the address of a notebook has it."
    if EVERY_NAME in settings.allowed_hosts:
        yield "allowed_hosts *: any web page that its visitor opens can use this service, from inside their network."
    if "*" in settings.allow_origin:
        yield "allow_origin *: pages of every site may start notebooks in their visitors' browsers."
    if "*" in settings.frame_ancestors:
        yield "frame_ancestors *: pages of every site may show notes in a frame, and visitors may be led to run them."
    for origin in settings.tokenless_origin:
        yield f"tokenless_origin {origin}: its pages need only the address of a notebook that they started."
    if settings.allow_credentials and "*" in settings.allow_origin:
        yield "allow_credentials is left out, as browsers refuse it beside allow_origin *: name the sites."


_ENGINE_SOCKETS = (PurePosixPath("/run/docker.sock"), PurePosixPath("/var/run/docker.sock"))


def _shows_the_engine(source: str) -> bool:
    """Whether a directory holds the engine's socket, which works through a read-only mount, too."""
    return source.endswith("docker.sock") or any(one.is_relative_to(source) for one in _ENGINE_SOCKETS)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to a listener on this address or name."""
    return is_loopback_name(host) or quota_keys.is_loopback(host)
