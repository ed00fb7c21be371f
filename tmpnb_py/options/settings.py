"""Every option of tmpnb-py.

`Settings` is the only place where an option exists: the command line, the environment, the TOML file and
`docs/options.md` are derived from it through `OPTIONS`; `sources` fills it. Values are plain: sizes are
bytes, durations are seconds.
"""

from __future__ import annotations

import dataclasses
import enum
import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from tmpnb_py.core.branding import ACCENT, TITLE
from tmpnb_py.core.models import Egress, Mount
from tmpnb_py.core.units import DAY, KIB, MIB, TIB
from tmpnb_py.options import values
from tmpnb_py.options.values import Kind, Network, Quantity, format_value

DEFAULT_IMAGE = "tmpnb-py-workshops:latest"
ENV_PREFIX = "TMPNB_"
_SYSTEM_DIRECTORY = Path("/run/tmpnb-py")


def _option(default: Any, group: str, description: str, *, unset: str = "") -> Any:
    """A field. `unset` says what a default of None means."""
    return Field(default, description=description, json_schema_extra={"group": group, "unset": unset})


_YEARS = 3650 * DAY  # an upper bound that only catches slips
_NEVER = Quantity(Kind.DURATION, 0.1, _YEARS, zero="never")
_SOON = Quantity(Kind.DURATION, 0.1, DAY)
_PORT = Quantity(Kind.NUMBER, 0, 65535)

Host = Annotated[str, AfterValidator(values.read_host)]

_LISTEN = "Addresses and ports"
_NOTEBOOK = "Notebooks"
_SWARM = "Swarm"
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

    ip: Host = _option(
        "0.0.0.0",
        _LISTEN,
        "Address or host name that visitors connect to; 0.0.0.0 is all of IPv4, :: all of IPv6 and IPv4.",
    )
    port: Annotated[int, _PORT] = _option(8000, _LISTEN, "Port for visitors; 0 lets the kernel pick a free one.")
    admin_ip: Host = _option("127.0.0.1", _LISTEN, "Address or host name of the admin listener; as ip.")
    admin_port: Annotated[int, _PORT] = _option(
        10000, _LISTEN, "Port of the admin listener; 0 lets the kernel pick a free one."
    )
    admin_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = _option(
        SecretStr(""),
        _LISTEN,
        "Token that the admin listener demands. Better set in the environment (ADMIN_AUTH_TOKEN does too): "
        "other users of the machine can read a command line.",
    )

    base_url: Annotated[str, AfterValidator(values.read_base_url)] = _option(
        "/",
        _LISTEN,
        "Path that the service has on its host, such as /jupyter/: pages, API and notebooks are below it.",
    )
    allowed_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_host_names), NoDecode] = _option(
        (),
        _LISTEN,
        "Names that visitors reach this service by (comma list; *.example.net is every name below it, * any name at "
        "all). Addresses, localhost and this machine's own names are always accepted, others get 421: any web page "
        "can point a name of its own at this service.",
    )
    api_auth_token: Annotated[SecretStr, AfterValidator(values.read_secret)] = _option(
        SecretStr(""),
        _LISTEN,
        "Token that the visitors' API demands; no pages are served then. Better set in the environment "
        "(API_AUTH_TOKEN does too).",
    )

    engine: Literal["auto", "docker", "local", "swarm"] = _option(
        "auto",
        _NOTEBOOK,
        "What runs the containers: Docker, (swarm) Docker Swarm on many machines, or (local) this machine, in "
        "sandboxes of bubblewrap. auto is Docker where "
        "DOCKER_HOST is set or /var/run/docker.sock exists, and local with 127.0.0.1 as ip where not.",
    )
    image: Annotated[str, AfterValidator(values.read_image)] = _option(
        DEFAULT_IMAGE, _NOTEBOOK, "Image that each notebook is started from."
    )
    command: Annotated[str, AfterValidator(values.read_command)] | None = _option(
        None,
        _NOTEBOOK,
        "Command that starts the notebook server in the container, run by a shell. Replaced in it: "
        "{base_path}, {token}, and either {socket} or {ip} and {port}.",
        unset="what fits the image",
    )
    interfaces: Annotated[tuple[str, ...], BeforeValidator(values.read_interfaces), NoDecode] = _option(
        (),
        _NOTEBOOK,
        "Interfaces of the image, beside Jupyter's own, that links may open (comma list of the first part of their "
        "paths, such as rstudio,voila,proxy); an image can name its own (label org.tmpnb.interfaces).",
    )
    redirect_uri: str = _option("/lab", _NOTEBOOK, "Where a new notebook opens when the link names no document.")
    docker_network: Annotated[str, AfterValidator(values.read_network_name)] | None = _option(
        None,
        _NOTEBOOK,
        "Existing network of the engine that notebooks are attached to; they are reached there by address, and "
        "what they may reach is that network's affair.",
        unset="one that fits transport and egress",
    )
    host_network: bool = _option(
        False,
        _NOTEBOOK,
        "Whether notebooks share the host's network: nothing keeps them apart there, so an admin token is needed.",
    )
    transport: Literal["auto", "socket", "port", "address"] = _option(
        "auto",
        _NOTEBOOK,
        "Way from the proxy to a container: a Unix socket, a port on loopback, its address on docker_network, or "
        "whichever works (auto).",
    )
    egress: Egress = _option(
        Egress.NONE,
        _NOTEBOOK,
        "What notebooks may reach: nothing (none) or the public internet (internet), which is neither a private or "
        "link-local address nor the engine's machine.",
    )
    egress_allow: Annotated[tuple[Network, ...], BeforeValidator(values.read_reach), NoDecode] = _option(
        (),
        _NOTEBOOK,
        "Addresses and networks that notebooks may reach beside the public internet (comma list such as "
        "10.1.0.0/16); * opens everything, this machine included. Needs egress internet.",
    )
    accept_missing: Annotated[tuple[str, ...], BeforeValidator(values.read_protections), NoDecode] = _option(
        (),
        _NOTEBOOK,
        "Protections that notebooks may lack where the engine does not give them (comma list of network, privileges, "
        "seccomp, memory, processes, disk, verification); none are started without the others.",
    )
    container_ip: Annotated[str, AfterValidator(values.read_address)] = _option(
        "127.0.0.1",
        _NOTEBOOK,
        "Address of the engine's host on which ports are published; with host_network, the one that notebook "
        "servers listen on.",
    )
    container_port: Annotated[int, Quantity(Kind.NUMBER, 1, 65535)] = _option(
        8888,
        _NOTEBOOK,
        "Port that the notebook server listens on in its container; with host_network, the first one that is tried.",
    )
    container_user: Annotated[str, AfterValidator(values.read_user)] = _option(
        "1000", _NOTEBOOK, "User that the command runs as, with or without a group, such as 1000:100."
    )
    host_directories: Annotated[tuple[Mount, ...], BeforeValidator(values.read_mounts), NoDecode] = _option(
        (),
        _NOTEBOOK,
        "Directories of the engine's host that every notebook sees (comma list of /host:/mount:ro or rw); rw lets "
        "every visitor change them.",
    )
    extra_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_extra_hosts), NoDecode] = _option(
        (), _NOTEBOOK, "Names that notebooks find without DNS (comma list of name:address)."
    )
    mem_limit: Annotated[int, Quantity(Kind.SIZE, 64 * MIB, 64 * TIB)] = _option(
        512 * MIB, _NOTEBOOK, "Memory of each container (size, at least 64m); it gets no swap beyond that."
    )
    cpu_quota: Annotated[int, Quantity(Kind.NUMBER, 1000, 1_000_000_000, zero="no limit")] = _option(
        50000,
        _NOTEBOOK,
        "CPU time of each container in microseconds per 100 ms: 50000 is half a CPU, 0 is no limit.",
    )
    cpu_shares: Annotated[int, Quantity(Kind.NUMBER, 2, 262_144, zero="the engine's default")] = _option(
        0, _NOTEBOOK, "Weight of each container where CPUs are scarce (1024 is usual); 0 is the engine's default."
    )
    pids_limit: Annotated[int, Quantity(Kind.NUMBER, 32, 4_194_304, zero="no limit")] = _option(
        256, _NOTEBOOK, "Processes and threads of each container (number, at least 32); 0 is no limit."
    )
    home_size: Annotated[int, Quantity(Kind.SIZE, MIB, 64 * TIB)] = _option(
        256 * MIB, _NOTEBOOK, "Room in each home directory (size), where the image lets it be bounded."
    )
    tmp_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = _option(
        None,
        _NOTEBOOK,
        "Room in each /tmp (size), where the image has a read-only root; what is in it counts as memory.",
        unset="half of mem_limit",
    )
    shm_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = _option(
        None,
        _NOTEBOOK,
        "Shared memory of each container, its /dev/shm (size); what is in it counts as memory.",
        unset="half of mem_limit",
    )
    use_tokens: bool = _option(True, _NOTEBOOK, "Whether each notebook server demands a token of its own.")

    swarm_relays: Annotated[tuple[str, ...], BeforeValidator(values.read_relays), NoDecode] = _option(
        ("tasks.relay:7443",),
        _SWARM,
        "Where the relays of the swarm's nodes are reached (comma list of host:port); all addresses of a name count.",
    )
    swarm_secret: Annotated[Path, BeforeValidator(values.read_path)] = _option(
        Path("/run/secrets/tmpnb-relay"),
        _SWARM,
        "File with the private key and the certificate that this service and the relays share.",
    )
    swarm_constraint: Annotated[tuple[str, ...], BeforeValidator(values.read_constraints), NoDecode] = _option(
        (),
        _SWARM,
        "Nodes on which notebooks may run, by Swarm's own placement constraints (comma list such as "
        "node.labels.notebooks==true,node.role==worker); empty is all.",
    )

    pool_name: Annotated[str, AfterValidator(values.read_pool_name)] = _option(
        "tmpnb", _POOL, "Name of the pool; two services on one engine need different names."
    )
    pool_size: Annotated[int, Quantity(Kind.NUMBER, 0, 100_000)] = _option(
        10, _POOL, "Number of containers that are kept started and ready for the next visitors."
    )
    max_containers: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1_000_000)] = _option(
        None,
        _POOL,
        "Number of containers at most, ready and in use; never below pool_size.",
        unset="what fits the engine's memory",
    )
    start_concurrency: Annotated[int | None, Quantity(Kind.NUMBER, 1, 1000)] = _option(
        None, _POOL, "Number of containers that may be starting at the same time.", unset="number of CPUs"
    )
    start_timeout: Annotated[float, _SOON] = _option(
        60.0, _POOL, "Time in which a started container has to answer (duration), or it is removed."
    )
    ready_max_age: Annotated[float, _NEVER] = _option(
        86400.0, _POOL, "Age at which an unused ready container is replaced (duration); 0 is never."
    )
    user_length: Annotated[int, Quantity(Kind.NUMBER, 25, 64)] = _option(
        26, _POOL, "Characters of the id in each notebook's URL, which nobody must be able to guess: at least 25."
    )
    max_waiting: Annotated[int, Quantity(Kind.NUMBER, 0, 1_000_000)] = _option(
        200, _POOL, "Number of people who may wait in line while no container is ready."
    )
    max_wait: Annotated[float, Quantity(Kind.DURATION, 0, 3600)] = _option(
        60.0, _POOL, "Longest wait that one request may ask for with ?wait= (duration)."
    )

    place_lease: Annotated[float, Quantity(Kind.DURATION, 5, DAY)] = _option(
        120.0, _POOL, "Time that a place in line is kept for a visitor whose browser is away (duration)."
    )
    max_notebooks_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = _option(
        0,
        _POOL,
        "Number of notebooks, in use and waited for, that one client address (of IPv6, one /64 network) may have; 0 "
        "is no limit. A whole class may share an address.",
    )

    cull_timeout: Annotated[float, _NEVER] = _option(
        3600.0, _CULL, "Time without activity after which a session ends (duration); 0 is never."
    )
    cull_disconnected: Annotated[float, _NEVER] = _option(
        900.0,
        _CULL,
        "Time without activity after which a session with no browser connected ends (duration); 0 is never.",
    )
    cull_busy: Annotated[float, _NEVER] = _option(
        3600.0,
        _CULL,
        "Time that a busy kernel keeps a session alive with nobody connected (duration); 0 is without end.",
    )
    cull_unvisited: Annotated[float, _NEVER] = _option(
        300.0, _CULL, "Time after which a session that nobody ever opened ends (duration); 0 is never."
    )
    cull_max: Annotated[float, _NEVER] = _option(
        14400.0, _CULL, "Age at which a session ends whatever happens in it (duration); 0 is never."
    )

    trusted_proxies: Annotated[tuple[Network, ...], BeforeValidator(values.read_networks), NoDecode] = _option(
        (),
        _PROXY,
        "Addresses and networks of reverse proxies whose X-Forwarded headers are believed (comma list).",
    )
    max_head_size: Annotated[int, Quantity(Kind.SIZE, 4 * KIB, MIB)] = _option(
        32 * KIB, _PROXY, "Room for the first line and the headers of a request (size); an answer's may have 64k."
    )
    head_timeout: Annotated[float, _SOON] = _option(
        15.0, _PROXY, "Time in which a client has to send its headers (duration)."
    )
    body_timeout: Annotated[float, _SOON] = _option(
        60.0, _PROXY, "Time without progress after which a client's upload is given up (duration)."
    )
    write_timeout: Annotated[float, _SOON] = _option(
        60.0,
        _PROXY,
        "Time without progress after which a client that does not read its answer is given up (duration).",
    )
    keepalive_timeout: Annotated[float, _SOON] = _option(
        75.0, _PROXY, "Time that an idle client connection is kept open (duration)."
    )
    proxy_keepalive_timeout: Annotated[float, _SOON] = _option(
        3600.0,
        _PROXY,
        "The same of a connection of trusted_proxies (duration): longer than they keep them, or requests that they "
        "send into one that just closes are answered 502.",
    )
    connect_timeout: Annotated[float, _SOON] = _option(
        10.0, _PROXY, "Time in which a container has to accept a connection (duration)."
    )
    response_timeout: Annotated[float, _SOON] = _option(
        300.0, _PROXY, "Time in which a container has to begin its answer (duration)."
    )
    max_connections: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000)] = _option(
        10000, _PROXY, "Number of client connections at the same time."
    )
    max_connections_per_address: Annotated[int, Quantity(Kind.NUMBER, 1, 1_000_000, zero="no limit")] = _option(
        2500,
        _PROXY,
        "Number of connections that one client address (of IPv6, one /64 network) may hold; 0 is no limit. Those of "
        "trusted proxies are not held to it. A browser with a notebook holds about ten, and a whole class may share "
        "an address.",
    )

    allow_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_origins), NoDecode] = _option(
        (),
        _API,
        "Sites whose pages may use the API, and notebooks whose token they show, from a browser (comma list such as "
        "https://example.org); * is every site.",
    )
    tokenless_origin: Annotated[tuple[str, ...], BeforeValidator(values.read_named_origins), NoDecode] = _option(
        (),
        _API,
        "Sites with clients of the old tmpnb (comma list): as allow_origin, and their pages need not show the token "
        "of a notebook that POST /api/spawn gave them.",
    )
    frame_ancestors: Annotated[tuple[str, ...], BeforeValidator(values.read_ancestors), NoDecode] = _option(
        (),
        _API,
        "Sites whose pages may show workshops' notes in a frame (comma list such as https://lms.example.org or "
        "https://*.example.org; self is this service's own host, * is every site).",
    )
    binder_spec: Annotated[tuple[str, ...], BeforeValidator(values.read_binder_specs), NoDecode] = _option(
        (),
        _API,
        "Repositories that clients of BinderHub (thebe) may ask for, with the workshop that they get (comma list of "
        "gh/org/repo=workshop or, for no workshop in particular, gh/org/repo); * is any. One that is called as a "
        "workshop needs no entry.",
    )
    allow_methods: Annotated[str, AfterValidator(values.read_header_list)] | None = _option(
        None,
        _API,
        "Methods that such pages may use (Access-Control-Allow-Methods).",
        unset="those of each address",
    )
    allow_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = _option(
        None,
        _API,
        "Headers that such pages may send (Access-Control-Allow-Headers).",
        unset="Authorization, Content-Type, Last-Event-ID; to notebooks all",
    )
    expose_headers: Annotated[str, AfterValidator(values.read_header_list)] | None = _option(
        None, _API, "Headers that such pages may read (Access-Control-Expose-Headers).", unset="none"
    )
    allow_credentials: bool = _option(
        False,
        _API,
        "Whether such pages may send cookies to the API (Access-Control-Allow-Credentials); not with *. Notebooks "
        "never see them.",
    )
    max_age: Annotated[float | None, Quantity(Kind.DURATION, 0, DAY)] = _option(
        None,
        _API,
        "Time that a browser may remember these answers (duration; Access-Control-Max-Age).",
        unset="the browser's own",
    )

    site_title: Annotated[str, AfterValidator(values.read_title)] = _option(
        TITLE, _LOOK, "Name of the service, in the head of each page."
    )
    site_logo: Annotated[Path | None, BeforeValidator(values.read_file)] = _option(
        None, _LOOK, "Picture beside it: an SVG, PNG, JPEG or WebP file of at most 256 KiB.", unset="none"
    )
    accent_color: Annotated[str, AfterValidator(values.read_color)] = _option(
        ACCENT,
        _LOOK,
        "Colour of buttons and links (#rrggbb); where it could not be read it is made lighter or darker.",
    )
    announcement: Annotated[str, AfterValidator(values.read_words)] | None = _option(
        None, _LOOK, "Words above each page; addresses in it become links.", unset="none"
    )
    site_footer: Annotated[str, AfterValidator(values.read_words)] | None = _option(
        None, _LOOK, "Words below each page, such as who runs this; addresses in it become links.", unset="none"
    )
    privacy_notice: Annotated[str, AfterValidator(values.read_words)] | None = _option(
        None,
        _LOOK,
        "Text of the page /privacy, which each page then links to; an empty line ends a paragraph.",
        unset="none",
    )
    workshops_file: Annotated[Path | None, BeforeValidator(values.read_file)] = _option(
        None,
        _LOOK,
        "TOML file with the workshops of the first page, written like an image's own manifest.",
        unset="those of the image",
    )

    remember_sessions: bool = _option(
        True, _LOOK, "Whether a cookie remembers a visitor's running notebooks, so that the pages lead back to them."
    )

    log_format: Literal["auto", "console", "json"] = _option(
        "auto",
        _SERVICE,
        "Form of the log: readable (console), one JSON object per line, or by terminal (auto).",
    )
    log_level: Literal["debug", "info", "warning", "error"] = _option(
        "info", _SERVICE, "Least severe level that is logged."
    )
    audit_client_address: bool = _option(
        False,
        _SERVICE,
        "Whether the log's events of sessions (session_started, session_ended) name the client's address.",
    )
    cleanup_on_exit: bool = _option(
        False, _SERVICE, "Whether stopping removes every container of the pool; otherwise they stay."
    )
    shutdown_timeout: Annotated[float, Quantity(Kind.DURATION, 0, DAY)] = _option(
        10.0, _SERVICE, "Time that open requests are given to finish on shutdown (duration)."
    )
    runtime_dir: Annotated[Path | None, BeforeValidator(values.read_path)] = _option(
        None,
        _SERVICE,
        "Directory for sockets, the pool's lock and the static files that notebooks share.",
        unset="/run/tmpnb-py as root or where it is yours, else $XDG_RUNTIME_DIR/tmpnb-py or /tmp/tmpnb-py-<uid>",
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
        return self.start_concurrency or os.cpu_count() or 1


def _owner(path: Path) -> int | None:
    try:
        return path.lstat().st_uid
    except OSError:
        return None


@dataclasses.dataclass(frozen=True)
class Option:
    """What the command line and the documentation need to know of one field of `Settings`."""

    name: str
    kind: Kind
    group: str
    description: str
    default: str
    choices: tuple[str, ...] = ()

    @property
    def flag(self) -> str:
        """The option on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENV_PREFIX + self.name.upper()


def _describe(name: str, field: FieldInfo) -> Option:
    extra = field.json_schema_extra
    assert isinstance(extra, dict)  # noqa: S101 - every field is made by _option
    kind, choices = _kind(field)
    default = str(extra["unset"]) if field.default is None else format_value(kind, field.default)
    return Option(name, kind, str(extra["group"]), field.description or "", default, choices)


def _kind(field: FieldInfo) -> tuple[Kind, tuple[str, ...]]:
    for item in field.metadata:
        if isinstance(item, Quantity):
            return item.kind, ()
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return Kind.CHOICE, tuple(str(member.value) for member in annotation)
    if isinstance(field.default, str) and (choices := get_args(annotation)):
        return Kind.CHOICE, choices
    if get_origin(annotation) is tuple:
        return Kind.LIST, ()
    kinds: dict[object, Kind] = {bool: Kind.SWITCH, SecretStr: Kind.SECRET, Path | None: Kind.PATH}
    return kinds.get(annotation, Kind.TEXT), ()


OPTIONS: dict[str, Option] = {name: _describe(name, field) for name, field in Settings.model_fields.items()}
