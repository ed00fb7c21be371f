"""Every option of tmpnb-py.

`Settings` is the only place where an option exists: the command line, the environment, the TOML file and
`docs/options.md` are derived from it through `OPTIONS`; `sources` fills it. Values are plain: sizes are
bytes, durations are seconds.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from tmpnb_py.core.branding import ACCENT, TITLE
from tmpnb_py.core.models import Egress, Mount
from tmpnb_py.core.units import DAY, KIB, MIB, TIB
from tmpnb_py.options import values
from tmpnb_py.options.declaration import DOCKER, ENV_PREFIX, Elsewhere, Option, Reload, describe, option
from tmpnb_py.options.values import Kind, Network, Quantity

DEFAULT_IMAGE = "tmpnb-py-workshops:latest"
_SYSTEM_DIRECTORY = Path("/run/tmpnb-py")


_YEARS = 3650 * DAY  # an upper bound that only catches slips
_NEVER = Quantity(Kind.DURATION, 0.1, _YEARS, zero="never")
_SOON = Quantity(Kind.DURATION, 0.1, DAY)
_PORT = Quantity(Kind.NUMBER, 0, 65535)

Host = Annotated[str, AfterValidator(values.read_host)]

_LISTEN = "Addresses and ports"
_NOTEBOOK = "Notebooks"
_POOL = "Pool"
_CULL = "End of sessions"
_PROXY = "Proxy"
_API = "API for other sites and programs"
_LOOK = "Look of the pages"
_SERVICE = "Service"


class Settings(BaseSettings):
    """The effective settings. Built directly, it knows only its arguments and the defaults."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", env_prefix=ENV_PREFIX, env_ignore_empty=True, hide_input_in_errors=True
    )

    ip: Host = option(
        "0.0.0.0",
        _LISTEN,
        "Address or host name that visitors connect to; 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4.",
        reload=Reload.RESTART,
    )
    port: Annotated[int, _PORT] = option(
        8000, _LISTEN, "Port for visitors; 0 lets the kernel pick a free one.", reload=Reload.RESTART
    )
    admin_ip: Host = option(
        "127.0.0.1", _LISTEN, "Address or host name of the admin listener; as ip.", reload=Reload.RESTART
    )
    admin_port: Annotated[int, _PORT] = option(
        10000, _LISTEN, "Port of the admin listener; 0 lets the kernel pick a free one.", reload=Reload.RESTART
    )
    admin_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = option(
        SecretStr(""),
        _LISTEN,
        "Token that the admin listener demands. Better set in the environment (ADMIN_AUTH_TOKEN does too): "
        "other users of the machine can read a command line.",
        reload=Reload.AT_ONCE,
    )

    base_url: Annotated[str, AfterValidator(values.read_base_url)] = option(
        "/",
        _LISTEN,
        "Path that the service has on its host, such as /jupyter/: pages, API and notebooks are below it.",
        reload=Reload.RESTART,
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_host_names), NoDecode] = option(
        (),
        _LISTEN,
        "Names that visitors reach this service by (comma list; *.example.net is every name below it, * any name at "
        "all). Addresses, localhost and this machine's own names are always accepted, others get 421: any web page "
        "can point a name of its own at this service.",
        reload=Reload.AT_ONCE,
    )
    api_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = option(
        SecretStr(""),
        _LISTEN,
        "Token that the visitors' API demands; no pages are served then. Better set in the environment "
        "(API_AUTH_TOKEN does too).",
        reload=Reload.RESTART,
    )

    engine: Literal["auto", "docker", "local"] = option(
        "auto",
        _NOTEBOOK,
        "What runs the containers: Docker, or (local) this machine, in sandboxes of bubblewrap. auto is Docker where "
        "DOCKER_HOST is set or /var/run/docker.sock exists, and local with 127.0.0.1 as ip where not.",
        reload=Reload.RESTART,
    )
    image: Annotated[str, AfterValidator(values.read_image)] = option(
        DEFAULT_IMAGE, _NOTEBOOK, "Image that each notebook is started from.", reload=Reload.RENEW
    )
    command: Annotated[str, AfterValidator(values.read_command)] | None = option(
        None,
        _NOTEBOOK,
        "Command that starts the notebook server in the container, run by a shell. Replaced in it: "
        "{base_path}, {token}, and either {socket} or {ip} and {port}.",
        unset="what fits the image",
        reload=Reload.RENEW,
    )
    interfaces: Annotated[tuple[str, ...], BeforeValidator(values.read_interfaces), NoDecode] = option(
        (),
        _NOTEBOOK,
        "Interfaces of the image, beside Jupyter's own, that links may open (comma list of the first part of their "
        "paths, such as rstudio,voila,proxy); an image can name its own (label org.tmpnb.interfaces).",
        reload=Reload.AT_ONCE,
    )
    redirect_uri: str = option(
        "/lab", _NOTEBOOK, "Where a new notebook opens when the link names no document.", reload=Reload.AT_ONCE
    )
    docker_network: Annotated[str, AfterValidator(values.read_network_name)] | None = option(
        None,
        _NOTEBOOK,
        "Existing network of the engine that notebooks are attached to; they are reached there by address, and "
        "what they may reach is that network's affair.",
        unset="one that fits transport and egress",
        reload=Reload.RESTART,
        engines=DOCKER,
        elsewhere=Elsewhere.REFUSED,
    )
    host_network: bool = option(
        False,
        _NOTEBOOK,
        "Whether notebooks share the host's network: nothing keeps them apart there, so an admin token is needed.",
        reload=Reload.RESTART,
        engines=DOCKER,
        elsewhere=Elsewhere.REFUSED,
    )
    transport: Literal["auto", "socket", "port", "address"] = option(
        "auto",
        _NOTEBOOK,
        "Way from the proxy to a container: a Unix socket, a port on loopback, its address on docker_network, or "
        "whichever works (auto).",
        reload=Reload.RENEW,
    )
    egress: Egress = option(
        Egress.NONE,
        _NOTEBOOK,
        "What notebooks may reach: nothing (none) or the public internet (internet), which is neither a private or "
        "link-local address nor the engine's machine.",
        reload=Reload.RENEW,
    )
    egress_allow: Annotated[tuple[Network, ...], BeforeValidator(values.read_reach), NoDecode] = option(
        (),
        _NOTEBOOK,
        "Addresses and networks that notebooks may reach beside the public internet (comma list such as "
        "10.1.0.0/16); * opens everything, this machine included. Needs egress internet.",
        reload=Reload.RENEW,
    )
    accept_missing: Annotated[tuple[str, ...], BeforeValidator(values.read_protections), NoDecode] = option(
        (),
        _NOTEBOOK,
        "Protections that notebooks may lack where the engine does not give them (comma list of network, privileges, "
        "seccomp, memory, processes, disk, verification); none are started without the others.",
        reload=Reload.RENEW,
        engines=DOCKER,
    )
    container_ip: Annotated[str, AfterValidator(values.read_address)] = option(
        "127.0.0.1",
        _NOTEBOOK,
        "Address of the engine's host on which ports are published; with host_network, the one that notebook "
        "servers listen on.",
        reload=Reload.RESTART,
        engines=DOCKER,
    )
    container_port: Annotated[int, Quantity(Kind.NUMBER, 1, 65535)] = option(
        8888,
        _NOTEBOOK,
        "Port that the notebook server listens on in its container; with host_network, the first one that is tried.",
        reload=Reload.RESTART,
        engines=DOCKER,
    )
    container_user: Annotated[str, AfterValidator(values.read_user)] = option(
        "1000",
        _NOTEBOOK,
        "User that the command runs as, with or without a group, such as 1000:100.",
        reload=Reload.RENEW,
        engines=DOCKER,
    )
    host_directories: Annotated[tuple[Mount, ...], BeforeValidator(values.read_mounts), NoDecode] = option(
        (),
        _NOTEBOOK,
        "Directories of the engine's host that every notebook sees (comma list of /host:/mount:ro or rw); rw lets "
        "every visitor change them.",
        reload=Reload.RENEW,
        engines=DOCKER,
    )
    extra_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_extra_hosts), NoDecode] = option(
        (),
        _NOTEBOOK,
        "Names that notebooks find without DNS (comma list of name:address).",
        reload=Reload.RENEW,
        engines=DOCKER,
    )
    mem_limit: Annotated[int, Quantity(Kind.SIZE, 64 * MIB, 64 * TIB)] = option(
        512 * MIB,
        _NOTEBOOK,
        "Memory of each container (size, at least 64m); it gets no swap beyond that.",
        reload=Reload.RENEW,
    )
    cpu_quota: Annotated[int, Quantity(Kind.NUMBER, 1000, 1_000_000_000, zero="no limit")] = option(
        50000,
        _NOTEBOOK,
        "CPU time of each container in microseconds per 100 ms: 50000 is half a CPU, 0 is no limit.",
        reload=Reload.RENEW,
    )
    cpu_shares: Annotated[int, Quantity(Kind.NUMBER, 2, 262_144, zero="the engine's default")] = option(
        0,
        _NOTEBOOK,
        "Weight of each container where CPUs are scarce (1024 is usual); 0 is the engine's default.",
        reload=Reload.RENEW,
        engines=DOCKER,
    )
    pids_limit: Annotated[int, Quantity(Kind.NUMBER, 32, 4_194_304, zero="no limit")] = option(
        256,
        _NOTEBOOK,
        "Processes and threads of each container (number, at least 32); 0 is no limit.",
        reload=Reload.RENEW,
    )
    home_size: Annotated[int, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        256 * MIB,
        _NOTEBOOK,
        "Room in each home directory (size), where the image lets it be bounded.",
        reload=Reload.RENEW,
    )
    tmp_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        None,
        _NOTEBOOK,
        "Room in each /tmp (size), where the image has a read-only root; what is in it counts as memory.",
        unset="half of mem_limit",
        reload=Reload.RENEW,
    )
    shm_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        None,
        _NOTEBOOK,
        "Shared memory of each container, its /dev/shm (size); what is in it counts as memory.",
        unset="half of mem_limit",
        reload=Reload.RENEW,
    )
    use_tokens: bool = option(
        True, _NOTEBOOK, "Whether each notebook server demands a token of its own.", reload=Reload.RENEW
    )

    pool_name: Annotated[str, AfterValidator(values.read_pool_name)] = option(
        "tmpnb", _POOL, "Name of the pool; two services on one engine need different names.", reload=Reload.RESTART
    )
    pool_size: Annotated[int, Quantity(Kind.NUMBER, 0, 100_000)] = option(
        10,
        _POOL,
        "Number of containers that are kept started and ready for the next visitors.",
        reload=Reload.AT_ONCE,
    )
    max_containers: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        None,
        _POOL,
        "Number of containers at most, ready and in use; never below pool_size.",
        unset="what fits the engine's memory",
        reload=Reload.AT_ONCE,
    )
    start_concurrency: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1000)] = option(
        None,
        _POOL,
        "Number of containers that may be starting at the same time.",
        unset="number of CPUs",
        reload=Reload.AT_ONCE,
    )
    start_timeout: Annotated[float, _SOON] = option(
        60.0,
        _POOL,
        "Time in which a started container has to answer (duration), or it is removed.",
        reload=Reload.AT_ONCE,
    )
    ready_max_age: Annotated[float, _NEVER] = option(
        86400.0,
        _POOL,
        "Age at which an unused ready container is replaced (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    user_length: Annotated[int, Quantity(Kind.NUMBER, 25, 64)] = option(
        26,
        _POOL,
        "Characters of the id in each notebook's URL, which nobody must be able to guess: at least 25.",
        reload=Reload.RESTART,
    )
    max_waiting: Annotated[int, Quantity(Kind.NUMBER, 0, 1_000_000)] = option(
        200, _POOL, "Number of people who may wait in line while no container is ready.", reload=Reload.AT_ONCE
    )
    max_wait: Annotated[float, Quantity(Kind.DURATION, 0, 3600)] = option(
        60.0, _POOL, "Longest wait that one request may ask for with ?wait= (duration).", reload=Reload.AT_ONCE
    )

    place_lease: Annotated[float, Quantity(Kind.DURATION, 5, DAY)] = option(
        120.0,
        _POOL,
        "Time that a place in line is kept for a visitor whose browser is away (duration).",
        reload=Reload.AT_ONCE,
    )
    max_notebooks_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = option(
        0,
        _POOL,
        "Number of notebooks, in use and waited for, that one client address (of IPv6, one /64 network) may have; 0 "
        "is no limit. A whole class may share an address.",
        reload=Reload.AT_ONCE,
    )

    cull_timeout: Annotated[float, _NEVER] = option(
        3600.0,
        _CULL,
        "Time without activity after which a session ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_disconnected: Annotated[float, _NEVER] = option(
        900.0,
        _CULL,
        "Time without activity after which a session with no browser connected ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_busy: Annotated[float, _NEVER] = option(
        3600.0,
        _CULL,
        "Time that a busy kernel keeps a session alive with nobody connected (duration); 0 is without end.",
        reload=Reload.AT_ONCE,
    )
    cull_unvisited: Annotated[float, _NEVER] = option(
        300.0,
        _CULL,
        "Time after which a session that nobody ever opened ends (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )
    cull_max: Annotated[float, _NEVER] = option(
        14400.0,
        _CULL,
        "Age at which a session ends whatever happens in it (duration); 0 is never.",
        reload=Reload.AT_ONCE,
    )

    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(values.read_networks), NoDecode] = option(
        (),
        _PROXY,
        "Addresses and networks of reverse proxies whose X-Forwarded headers are believed (comma list).",
        reload=Reload.RESTART,
    )
    max_head_size: Annotated[int, Quantity(Kind.SIZE, 4 * KIB, MIB)] = option(
        32 * KIB,
        _PROXY,
        "Room for the first line and the headers of a request (size); an answer's may have 64k.",
        reload=Reload.RESTART,
    )
    head_timeout: Annotated[float, _SOON] = option(
        15.0, _PROXY, "Time in which a client has to send its headers (duration).", reload=Reload.AT_ONCE
    )
    body_timeout: Annotated[float, _SOON] = option(
        60.0,
        _PROXY,
        "Time without progress after which a client's upload is given up (duration).",
        reload=Reload.AT_ONCE,
    )
    write_timeout: Annotated[float, _SOON] = option(
        60.0,
        _PROXY,
        "Time without progress after which a client that does not read its answer is given up (duration).",
        reload=Reload.AT_ONCE,
    )
    keepalive_timeout: Annotated[float, _SOON] = option(
        75.0, _PROXY, "Time that an idle client connection is kept open (duration).", reload=Reload.AT_ONCE
    )
    proxy_keepalive_timeout: Annotated[float, _SOON] = option(
        3600.0,
        _PROXY,
        "The same of a connection of trusted_proxies (duration): longer than they keep them, or requests that they "
        "send into one that just closes are answered 502.",
        reload=Reload.AT_ONCE,
    )
    connect_timeout: Annotated[float, _SOON] = option(
        10.0, _PROXY, "Time in which a container has to accept a connection (duration).", reload=Reload.AT_ONCE
    )
    response_timeout: Annotated[float, _SOON] = option(
        300.0, _PROXY, "Time in which a container has to begin its answer (duration).", reload=Reload.AT_ONCE
    )
    max_connections: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000)] = option(
        10000, _PROXY, "Number of client connections at the same time.", reload=Reload.AT_ONCE
    )
    max_connections_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = option(
        2500,
        _PROXY,
        "Number of connections that one client address (of IPv6, one /64 network) may hold; 0 is no limit. Those of "
        "trusted proxies are not held to it. A browser with a notebook holds about ten, and a whole class may share "
        "an address.",
        reload=Reload.AT_ONCE,
    )

    allow_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_origins), NoDecode] = option(
        (),
        _API,
        "Sites whose pages may use the API, and notebooks whose token they show, from a browser (comma list such as "
        "https://example.org); * is every site.",
        reload=Reload.AT_ONCE,
    )
    tokenless_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_named_origins), NoDecode] = option(
        (),
        _API,
        "Sites with clients of the old tmpnb (comma list): as allow_origin, and their pages need not show the token "
        "of a notebook that POST /api/spawn gave them.",
        reload=Reload.AT_ONCE,
    )
    frame_ancestors: Annotated[tuple[str, ...], BeforeValidator(values.read_ancestors), NoDecode] = option(
        (),
        _API,
        "Sites whose pages may show workshops' notes in a frame (comma list such as https://lms.example.org or "
        "https://*.example.org; self is this service's own host, * is every site).",
        reload=Reload.AT_ONCE,
    )
    binder_spec: Annotated[tuple[str, ...], BeforeValidator(values.read_binder_specs), NoDecode] = option(
        (),
        _API,
        "Repositories that clients of BinderHub (thebe) may ask for, with the workshop that they get (comma list of "
        "gh/org/repo=workshop or, for no workshop in particular, gh/org/repo); * is any. One that is called as a "
        "workshop needs no entry.",
        reload=Reload.AT_ONCE,
    )
    allow_methods: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        _API,
        "Methods that such pages may use (Access-Control-Allow-Methods).",
        unset="those of each address",
        reload=Reload.AT_ONCE,
    )
    allow_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        _API,
        "Headers that such pages may send (Access-Control-Allow-Headers).",
        unset="Authorization, Content-Type, Last-Event-ID; to notebooks all",
        reload=Reload.AT_ONCE,
    )
    expose_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = option(
        None,
        _API,
        "Headers that such pages may read (Access-Control-Expose-Headers).",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    allow_credentials: bool = option(
        False,
        _API,
        "Whether such pages may send cookies to the API (Access-Control-Allow-Credentials); not with *. Notebooks "
        "never see them.",
        reload=Reload.AT_ONCE,
    )
    max_age: Annotated[float | None, Quantity(Kind.DURATION, 0, DAY)] = option(
        None,
        _API,
        "Time that a browser may remember these answers (duration; Access-Control-Max-Age).",
        unset="the browser's own",
        reload=Reload.AT_ONCE,
    )

    site_title: Annotated[str, AfterValidator(values.read_title)] = option(
        TITLE, _LOOK, "Name of the service, in the head of each page.", reload=Reload.AT_ONCE
    )
    site_logo: Annotated[Path | None, BeforeValidator(values.read_file)] = option(
        None,
        _LOOK,
        "Picture beside it: an SVG, PNG, JPEG or WebP file of at most 256 KiB.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    accent_color: Annotated[str, AfterValidator(values.read_color)] = option(
        ACCENT,
        _LOOK,
        "Colour of buttons and links (#rrggbb); where it could not be read it is made lighter or darker.",
        reload=Reload.AT_ONCE,
    )
    announcement: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None, _LOOK, "Words above each page; addresses in it become links.", unset="none", reload=Reload.AT_ONCE
    )
    site_footer: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None,
        _LOOK,
        "Words below each page, such as who runs this; addresses in it become links.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    privacy_notice: Annotated[str, AfterValidator(values.read_words)] | None = option(
        None,
        _LOOK,
        "Text of the page /privacy, which each page then links to; an empty line ends a paragraph.",
        unset="none",
        reload=Reload.AT_ONCE,
    )
    workshops_file: Annotated[Path | None, BeforeValidator(values.read_file)] = option(
        None,
        _LOOK,
        "TOML file with the workshops of the first page, written like an image's own manifest.",
        unset="those of the image",
        reload=Reload.AT_ONCE,
    )

    remember_sessions: bool = option(
        True,
        _LOOK,
        "Whether a cookie remembers a visitor's running notebooks, so that the pages lead back to them.",
        reload=Reload.AT_ONCE,
    )

    log_format: Literal["auto", "console", "json"] = option(
        "auto",
        _SERVICE,
        "Form of the log: readable (console), one JSON object per line, or by terminal (auto).",
        reload=Reload.RESTART,
    )
    log_level: Literal["debug", "info", "warning", "error"] = option(
        "info", _SERVICE, "Least severe level that is logged.", reload=Reload.AT_ONCE
    )
    audit_client_address: bool = option(
        False,
        _SERVICE,
        "Whether the log's events of sessions (session_started, session_ended) name the client's address.",
        reload=Reload.AT_ONCE,
    )
    cleanup_on_exit: bool = option(
        False,
        _SERVICE,
        "Whether stopping removes every container of the pool; otherwise they stay.",
        reload=Reload.AT_ONCE,
    )
    shutdown_timeout: Annotated[float, Quantity(Kind.DURATION, 0, DAY)] = option(
        10.0, _SERVICE, "Time that open requests are given to finish on shutdown (duration).", reload=Reload.AT_ONCE
    )
    runtime_dir: Annotated[Path | None, BeforeValidator(values.read_path)] = option(
        None,
        _SERVICE,
        "Directory for sockets, the pool's lock and the static files that notebooks share.",
        unset="/run/tmpnb-py as root or where it is yours, else $XDG_RUNTIME_DIR/tmpnb-py or /tmp/tmpnb-py-<uid>",
        reload=Reload.RESTART,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the arguments: `sources` runs the other sources, and remembers where a value is from."""
        return (init_settings,)

    @field_validator("admin_port")
    @classmethod
    def _ports_differ(cls, admin_port: int, info: ValidationInfo) -> int:
        hosts = {info.data.get("ip"), info.data.get("admin_ip")}
        if admin_port and admin_port == info.data.get("port") and (len(hosts) == 1 or hosts & {"0.0.0.0", "::"}):
            raise ValueError("is the visitors' port too: give the admin listener another one")
        return admin_port

    @field_validator("transport")
    @classmethod
    def _command_fits(cls, transport: str, info: ValidationInfo) -> str:
        command = info.data.get("command") or ""
        if transport == "address" and not info.data.get("docker_network"):
            raise ValueError("needs a network to reach containers on: name one with docker_network")
        if transport in ("port", "address") and info.data.get("host_network"):
            raise ValueError("does not fit host_network, where containers have no ports of their own: use auto")
        for wanted, needed, other in (
            ("socket", "socket", "port"),
            ("port", "port", "socket"),
            ("address", "port", "socket"),
        ):
            if transport == wanted and f"{{{other}}}" in command:
                raise ValueError(
                    f"does not fit a command with {{{other}}}: use {{{needed}}} in it, or transport auto"
                )
        return transport

    @field_validator("egress_allow")
    @classmethod
    def _egress_is_on(cls, allow: tuple[Network, ...], info: ValidationInfo) -> tuple[Network, ...]:
        if allow and info.data.get("egress") is Egress.NONE:
            raise ValueError("opens nothing while egress is none: add egress internet")
        return allow

    @field_validator("host_network")
    @classmethod
    def _host_network_is_guarded(cls, host_network: bool, info: ValidationInfo) -> bool:
        if host_network and info.data.get("docker_network"):
            raise ValueError("does not go with docker_network: choose one of them")
        token = info.data.get("admin_auth_token")
        if host_network and token is not None and not token.get_secret_value():
            raise ValueError("would let every notebook use the admin listener: set ADMIN_AUTH_TOKEN first")
        return host_network

    @field_validator("redirect_uri")
    @classmethod
    def _can_be_opened(cls, redirect_uri: str, info: ValidationInfo) -> str:
        return values.read_redirect(redirect_uri, info.data.get("interfaces", ()))

    @field_validator("max_containers")
    @classmethod
    def _room_for_pool(cls, max_containers: int | None, info: ValidationInfo) -> int | None:
        pool_size = info.data.get("pool_size", 0)
        if max_containers is not None and max_containers < pool_size:
            raise ValueError(f"is below pool_size, which is {pool_size}: raise it, or lower pool_size")
        return max_containers

    @property
    def opens_everything(self) -> bool:
        """Whether notebooks may reach whatever the engine's machine reaches."""
        return {str(network) for network in self.egress_allow} >= set(values.EVERYTHING)

    @property
    def runtime_path(self) -> Path:
        """The directory for sockets and the lock. Whoever creates it has to check its owner and mode."""
        if self.runtime_dir is not None:
            return self.runtime_dir
        if os.geteuid() == 0 or _owner(_SYSTEM_DIRECTORY) == os.geteuid():
            return _SYSTEM_DIRECTORY
        base = os.environ.get("XDG_RUNTIME_DIR", "")
        # The XDG base directory specification: a relative path is invalid and is to be ignored.
        return Path(base, "tmpnb-py") if base.startswith("/") else Path(f"/tmp/tmpnb-py-{os.geteuid()}")  # noqa: S108

    @property
    def tmp_bytes(self) -> int:
        """Room in `/tmp`: `tmp_size`, or as Linux does it, half of the memory."""
        return self.tmp_size or self.mem_limit // 2

    @property
    def shm_bytes(self) -> int:
        """Room in `/dev/shm`: `shm_size`, or half of the memory."""
        return self.shm_size or self.mem_limit // 2

    @property
    def starts_at_once(self) -> int:
        """How many containers may be starting at a time: `start_concurrency`, or the number of CPUs."""
        return self.start_concurrency or _processors()


@functools.cache
def _processors() -> int:
    return os.cpu_count() or 1  # which reads a file of /sys each time


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


OPTIONS: dict[str, Option] = {name: describe(name, field) for name, field in Settings.model_fields.items()}
