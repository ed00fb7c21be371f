"""Translates between Docker's dictionaries and this program's models. Pure; used by the Docker engine only.

Names and labels are a container's durable record (the engine is the database). The *name* holds the state, because
a rename is the only change of a container that Docker makes durable in milliseconds. It does not hold the id: on a
user-defined network Docker's own DNS answers a reverse look-up of a neighbour's address with the neighbour's name,
and the id is the capability that opens its session. So the name holds a hash of the id.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import shlex
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tmpnb_py.core import boot_clock, host_names, links, warm
from tmpnb_py.core.document_paths import INTERFACE
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import (
    CA_BUNDLE,
    ContainerConfig,
    ContainerSpec,
    Egress,
    Exit,
    ImageFacts,
    Observed,
    SocketAddress,
    State,
    TcpAddress,
    Transport,
)
from tmpnb_py.core.units import CPU_PERIOD, cpu_per_period
from tmpnb_py.engines.docker import forward_inside, reach
from tmpnb_py.engines.web_socket import WEB_SOCKET

PROJECT = "tmpnb-py"
LABEL_PROJECT = "org.tmpnb.project"
LABEL_POOL = "org.tmpnb.pool"
LABEL_ID = "org.tmpnb.id"
LABEL_CONFIG = "org.tmpnb.config"
LABEL_TOKEN = "org.tmpnb.token"  # noqa: S105 - the name of a label
LABEL_BASE_URL = "org.tmpnb.base-url"
LABEL_SESSION_NAME = "org.tmpnb.session-name"
LABEL_PROBE = "org.tmpnb.probe"
LABEL_MANAGER = "org.tmpnb.manager"
LABEL_HOLDER = "org.tmpnb.holder"
LABEL_IMAGE = "org.tmpnb.image"
LABEL_EGRESS = "org.tmpnb.egress"

IMAGE_SOCKET = "org.tmpnb.socket"
IMAGE_READ_ONLY = "org.tmpnb.read-only"
IMAGE_HOME = "org.tmpnb.home"
IMAGE_WORKSHOPS = "org.tmpnb.workshops"
IMAGE_STATIC = "org.tmpnb.static"
IMAGE_INTERFACES = "org.tmpnb.interfaces"
IMAGE_RESTORE = "org.tmpnb.restore"
IMAGE_USERS = "org.tmpnb.users"
IMAGE_WARM = "org.tmpnb.warm"

SOCKET_DIRECTORY = "/run/tmpnb"
SOCKET_NAME = "server.sock"
SOCKET_PATH = f"{SOCKET_DIRECTORY}/{SOCKET_NAME}"
WEB_PATH = f"{SOCKET_DIRECTORY}/{WEB_SOCKET}"
WEB_PORT = 3128  # on the notebook's loopback, as is usual for proxies

# For probes. The image's own passwd decides the group: 1000 in ours, 100 in the Jupyter docker-stacks.
USER = "1000"
HOSTNAME = "notebook"
# runc gives a container without a network an empty network namespace. With this, Docker skips what it does even for
# the network "none": add a sandbox to its network database, and run dockerd once more in a hook.
# (Measured: start 70 instead of 155 ms; rename 1.6 / 2.0 instead of 2.4 / 11 ms, median / p95, and that is a claim.)
# Docker then writes no /etc/hosts either, which `localhost` needs.
_NO_NETWORK = {"NetworkDisabled": True}
HOSTS = f"127.0.0.1 localhost {HOSTNAME}\n::1 localhost ip6-localhost ip6-loopback\n"
# Above 0, so that an out-of-memory kernel kills notebooks before the orchestrator and the engine.
OOM_SCORE_ADJ = 500
# OpenSSL and so Python, requests and pip, curl and R, git, Node.
_CA_VARIABLES = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "PIP_CERT", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
)  # fmt: skip

MASQUERADE = "com.docker.network.bridge.enable_ip_masquerade"
REMOVED = Exit(128 + 9)  # of a container that somebody removes: it was killed for that

ICC = "com.docker.network.bridge.enable_icc"
BRIDGE = "com.docker.network.bridge.name"

_ID = re.compile(r"[a-z0-9]{1,64}")
_PLACEHOLDER = re.compile(r"/?\{base_path\}/?|\{(port|ip|token|socket)\}")
_CLAIMED = re.compile(rf"claimed-([0-9]{{1,12}})(?:-[0-9a-f]{{1,16}})?(?:-({boot_clock.PATTERN}))?")
_USERS = re.compile(r"([0-9]{1,5})-([0-9]{1,5})")
_URL_PATH = re.compile(r"[a-z0-9_-]+(?:/[a-z0-9_-]+)*")
_STATIC_DIRECTORIES = 16
_SHIM = "io.containerd."
_OWN_KERNEL = {"runsc", "io.containerd.runsc.v1"}  # gVisor's program, and its shim
_INITS = ("tini", "dumb-init", "docker-init", "catatonit")


@dataclasses.dataclass(frozen=True, slots=True)
class Marks:
    """What a container's name records."""

    state: State
    claimed_unix: float | None = None
    claimed_stamp: str = ""


def is_id(text: str) -> bool:
    """Whether `text` is a valid container id.

    Labels are not trusted: a hostile one must never become a path.
    """
    return _ID.fullmatch(text) is not None


def handle(container_id: str) -> str:
    """A name for the container that does not reveal its id."""
    return hashlib.sha256(container_id.encode()).hexdigest()[:24]


def name_of(pool: str, container_id: str, state: State) -> str:
    """`tmpnb.<pool>.<hash of the id>.<state>`."""
    return f"tmpnb.{pool}.{handle(container_id)}.{state.value}"


def claimed_name(pool: str, container_id: str, unix_time: float, claimant: str) -> str:
    """`tmpnb.<pool>.<hash of the id>.claimed-<unix time>-<claimant>`."""
    return f"{name_of(pool, container_id, State.CLAIMED)}-{max(0, math.floor(unix_time))}-{claimant}"


def contested_name(pool: str, container_id: str) -> str:
    """A claimed container's name that is the same for all managers, and so tells neither time nor claimant."""
    return f"{name_of(pool, container_id, State.CLAIMED)}-0"


def is_claimed_by(names: Sequence[str], claimed: str) -> bool:
    """Whether this claim, with any stamp, is a container's only name. With two names, either may win."""
    return len(names) == 1 and f"{names[0]}-".startswith(f"{claimed}-")


def stamped(name: str, stamp: str) -> str:
    """Append a stamp of the machine's boot clock (`core.boot_clock`) to a claimed container's name."""
    return f"{name}-{stamp}" if stamp else name


def marks_of(pool: str, container_id: str, names: Iterable[str], created_unix: float) -> Marks:
    """The state that a container's names record. If undecidable it counts as claimed, for good."""
    prefix = _prefix(pool, container_id)
    for name in names:
        suffix = name.removeprefix(prefix)
        if suffix == name:
            continue
        if suffix in (State.STARTING, State.READY):
            return Marks(State(suffix))
        if match := _CLAIMED.fullmatch(suffix):
            return Marks(State.CLAIMED, float(match[1]), match[2] or "")
    return Marks(State.CLAIMED, created_unix)


def is_well_named(pool: str, container_id: str, names: Iterable[str]) -> bool:
    """Whether the name is one of ours. Distinguishes the container from a copy made with `docker commit`."""
    return any(name.startswith(_prefix(pool, container_id)) for name in names)


def _prefix(pool: str, container_id: str) -> str:
    return "/" + name_of(pool, container_id, State.READY).removesuffix(State.READY)


def facts_of(image: str, inspected: Mapping[str, Any]) -> ImageFacts:
    """Read an image's labels. Ignores paths that are not absolute."""
    labels: Mapping[str, str] = (inspected.get("Config") or {}).get("Labels") or {}
    return ImageFacts(
        image=image,
        image_id=str(inspected["Id"]),
        supports_socket=labels.get(IMAGE_SOCKET) == "true",
        supports_read_only=labels.get(IMAGE_READ_ONLY) == "true",
        home=_absolute(labels.get(IMAGE_HOME, "")),
        workshops=_absolute(labels.get(IMAGE_WORKSHOPS, "")),
        static=_static(labels.get(IMAGE_STATIC, "")),
        interfaces=tuple(name for name in labels.get(IMAGE_INTERFACES, "").split() if INTERFACE.fullmatch(name)),
        restores=labels.get(IMAGE_RESTORE) == "true",
        users=_users(labels.get(IMAGE_USERS, "")),
        warm=warm.read_label(labels.get(IMAGE_WARM, "")),
    )


def _users(label: str) -> tuple[int, int] | None:
    """Parse `1000-2999`: numbers of users, none of them root or beyond those of a remapped namespace."""
    if not (found := _USERS.fullmatch(label)):
        return None
    first, last = int(found[1]), int(found[2])
    return (first, last) if 0 < first <= last < 65534 else None


def has_own_init(inspected: Mapping[str, Any]) -> bool:
    """Whether the image's entry point reaps processes itself (it would complain about a second reaper)."""
    entrypoint = (inspected.get("Config") or {}).get("Entrypoint") or [""]
    return str(entrypoint[0]).rsplit("/", 1)[-1].removesuffix("-static") in _INITS


def _static(label: str) -> tuple[tuple[str, str], ...]:
    """Parse `static/lab=/opt/jupyter/… lab/extensions=/opt/…` into pairs."""
    pairs = (part.partition("=") for part in label.split())
    found = [(prefix, _absolute(path)) for prefix, _, path in pairs if _URL_PATH.fullmatch(prefix)]
    return tuple((prefix, path) for prefix, path in found if path)[:_STATIC_DIRECTORIES]


def _absolute(path: str) -> str:
    return path if path.startswith("/") and ":" not in path and "," not in path else ""


def render_command(spec: ContainerSpec, port: int | None = None, socket: str = SOCKET_PATH) -> str:
    """Substitute the container's values for `{base_path} {port} {ip} {token} {socket}`.

    One pass; all other braces stay. tmpnb's commands say `/{base_path}`, others `{base_path}` or
    `{base_path}/x`: each becomes the path with exactly one slash on both sides. The values need no shell
    quoting. `port` is the host's port chosen for this container; `socket` is a path inside it.
    """
    config = spec.config
    values = {
        "port": str(port or config.container_port),
        "ip": config.container_ip if config.transport is Transport.HOST else "0.0.0.0",
        "token": spec.token,
        "socket": socket,
    }
    return _PLACEHOLDER.sub(lambda match: values[match[1]] if match[1] else spec.base_path, config.command)


def network_name(pool: str, config: ContainerConfig) -> str:
    """The network of such containers; "none" if they need no network at all."""
    if config.network:
        return config.network
    if config.is_open:
        return f"tmpnb-{pool}-internet"
    if config.egress is Egress.INTERNET:
        return f"tmpnb-{pool}-web"
    return f"tmpnb-{pool}-isolated" if config.transport is Transport.PORT else "none"


def is_fenced(config: ContainerConfig) -> bool:
    """Whether such containers use a network of ours, bounded by `fence`."""
    return not config.network and not config.is_open and network_name("", config) != "none"


def network_body(pool: str, name: str, config: ContainerConfig) -> dict[str, Any]:
    """A bridge on which containers reach neither each other nor, without egress, anything beyond this host.

    Without masquerading a container's packets leave with an address that nobody can answer; published ports
    still work (they do not on an `--internal` network). The fence (`fence`) closes what remains: the host's own
    services on all of its addresses, machines with a route back to this bridge, and packets that want no answer.
    Unix sockets (`Transport.SOCKET`) without egress have none of these holes. The label names an image that can
    remove the fence.
    """
    return {
        "Name": name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Labels": {LABEL_PROJECT: PROJECT, LABEL_POOL: pool, LABEL_IMAGE: config.image.image_id},
        "Options": {
            BRIDGE: f"tmpnb-{hashlib.sha256(name.encode()).hexdigest()[:9]}",  # an interface's name has 15 characters
            ICC: "false",
            MASQUERADE: "true" if config.egress is Egress.INTERNET else "false",
        },
    }


def bridge_of(network: Mapping[str, Any]) -> str:
    """The interface of a listed bridge: our name for it, else the engine's default."""
    name = (network.get("Options") or {}).get(BRIDGE)
    return str(name or f"br-{network['Id'][:12]}")


def labels_of(pool: str, spec: ContainerSpec, port: int | None = None) -> dict[str, str]:
    """The container's identity, which survives the orchestrator."""
    return {
        LABEL_PROJECT: PROJECT,
        LABEL_POOL: pool,
        LABEL_ID: spec.id,
        LABEL_CONFIG: spec.config.digest,
        LABEL_TOKEN: spec.token,
        LABEL_BASE_URL: spec.config.base_url,
        LABEL_SESSION_NAME: spec.session_name,
        LABEL_EGRESS: spec.config.egress.value,
        **reach.labels_of(spec.config, port or spec.config.container_port),
    }


def create_body(
    pool: str,
    spec: ContainerSpec,
    *,
    socket_source: str | None,
    hosts_source: str | None,
    init: bool,
    port: int | None = None,
) -> dict[str, Any]:
    """The body of Docker's `POST /containers/create` for a notebook.

    `socket_source` and `hosts_source` (for `/etc/hosts` if Docker writes none) are on the engine's host. `port` is
    the host's port chosen for a container in the host's network.
    """
    config = spec.config
    host = _hardened(config.image, init=init, tmp_size=config.tmp_size)
    host["ShmSize"] = config.shm_size
    host["NetworkMode"] = network = network_name(pool, config)
    host["Memory"] = host["MemorySwap"] = config.mem_limit
    host["PidsLimit"] = config.pids_limit
    if config.image.supports_read_only and config.image.home:
        host["Tmpfs"][config.image.home] = home_options(config.home_size, spec.user)
    host["Mounts"] = [bind(mount.source, mount.target, read_only=mount.read_only) for mount in config.mounts]
    if socket_source is not None:
        host["Mounts"].append(bind(socket_source, read_only=config.transport is not Transport.SOCKET))
    if config.cpu_shares:
        host["CpuShares"] = config.cpu_shares
    if config.runtime:
        host["Runtime"] = config.runtime
    if config.extra_hosts:
        host["ExtraHosts"] = list(config.extra_hosts)
    body: dict[str, Any] = {
        "Image": config.image.image_id,
        "Cmd": ["/bin/sh", "-c", started(render_command(spec, port), config)],
        "Env": environment_of(spec),
        "User": spec.user,
        "Hostname": HOSTNAME,
        "Labels": labels_of(pool, spec, port),
        "HostConfig": host,
    }
    if config.transport is Transport.PORT:
        isolated = config.egress is not Egress.INTERNET and not config.network
        _publish(body, config.container_port, config.container_ip, isolated=isolated)
    elif network == "none" and not config.extra_hosts:  # only Docker's sandbox writes extra hosts
        body |= _NO_NETWORK
        if hosts_source is not None:
            host["Mounts"].append(bind(hosts_source, "/etc/hosts", read_only=True))
    return body


def started(command: str, config: ContainerConfig, web_socket: str = WEB_PATH) -> str:
    """The shell command of a notebook: its own, and beside it the forwarder to the web proxy, where there is one."""
    if config.egress is not Egress.WEB:
        return command
    source = shlex.quote(Path(forward_inside.__file__).read_text())
    python = '"$(command -v python3 || command -v python)"'
    forwarder = f"{python} -I -S -B -c {source} {WEB_PORT} {web_socket}"
    return f"({forwarder} </dev/null &)\nexec /bin/sh -c {shlex.quote(command)}"  # nobody's child: nobody awaits it


def cpu_limit(quota: int) -> dict[str, int]:
    """The CPU limit of a ready container, for a `cpu_quota`.

    It is not in the create body: a start is nearly all CPU, and has no visitor yet. (Measured with half
    a CPU each: 1.09 s to the first answer with the limit from the start, 0.72 s with it from readiness on.)
    """
    return {"CpuPeriod": CPU_PERIOD, "CpuQuota": cpu_per_period(quota)}


def trial_body(pool: str, config: ContainerConfig, *, socket_source: str | None = None) -> dict[str, Any]:
    """A probe's body: a notebook's network, privileges and limits, but no files or port."""
    spec = ContainerSpec("probe", "", dataclasses.replace(config, mounts=(), cpu_quota=0))
    body = create_body(pool, spec, socket_source=socket_source, hosts_source=None, init=False)
    body["HostConfig"].pop("PortBindings", None)
    body.pop("ExposedPorts", None)
    return body


def reading_body(pool: str, image: ImageFacts) -> dict[str, Any]:
    """A container that is never started, only read. Its label gets it removed after a crash."""
    return {
        "Image": image.image_id,
        "Cmd": ["true"],
        "Labels": {LABEL_PROJECT: PROJECT, LABEL_PROBE: pool},
        "HostConfig": {"NetworkMode": "none"},
        **_NO_NETWORK,
    }


def holder_name(pool: str) -> str:
    """The name that only one manager of a pool can have at a time. No container's handle looks like it."""
    return f"tmpnb.{pool}.manager"


def holder_body(pool: str, image_id: str, holder: str) -> dict[str, Any]:
    """A container that ends with its standard input, which is one connection. `holder` identifies the manager.

    It has no pool label, so it is never listed as a notebook.
    """
    host = _hardened(ImageFacts("", image_id, supports_read_only=True), init=False, tmp_size=1 << 20)
    host |= {"NetworkMode": "none", "AutoRemove": True, "PidsLimit": 16, "LogConfig": {"Type": "none"}}
    host["Memory"] = host["MemorySwap"] = 32 * 1024 * 1024
    return {
        "Image": image_id,
        "Entrypoint": ["/bin/sh", "-c", "read -r _"],
        "Cmd": [],
        "User": USER,
        "Labels": {LABEL_PROJECT: PROJECT, LABEL_MANAGER: pool, LABEL_HOLDER: holder},
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGKILL",  # a shell as process 1 ignores others: a stopping engine waited 10 s for it
        "OpenStdin": True,
        "StdinOnce": True,
        "AttachStdin": True,
        "HostConfig": host,
        **_NO_NETWORK,
    }


def bind(source: str, target: str = SOCKET_DIRECTORY, *, read_only: bool = False) -> dict[str, Any]:
    """A bind mount of the "Mounts" kind, which fails if the source is missing instead of creating it."""
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": read_only}


def _hardened(image: ImageFacts, *, init: bool, tmp_size: int) -> dict[str, Any]:
    host: dict[str, Any] = {
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
        "OomScoreAdj": OOM_SCORE_ADJ,
        "RestartPolicy": {"Name": "no"},
        "Ulimits": [
            {"Name": "nofile", "Soft": 4096, "Hard": 4096},
            {"Name": "core", "Soft": 0, "Hard": 0},
        ],
        "LogConfig": {"Type": "json-file", "Config": {"max-size": "1m", "max-file": "1"}},
        "Init": init,
    }
    if image.supports_read_only:
        host |= {"ReadonlyRootfs": True, "Tmpfs": {"/tmp": f"rw,noexec,nosuid,nodev,size={tmp_size}"}}  # noqa: S108
    return host


def home_options(size: int, user: str) -> str:
    """Mount options of a home in memory, of `size` bytes, for the container's user."""
    # exec: people compile and run programs in their home. uid and gid: without them the server cannot write to it.
    # Only the image knows the uid of a name; all of Jupyter's images use 1000.
    name, _, group = ("0" if user == "root" else user).partition(":")
    uid = name if name.isdecimal() else USER
    gid = group if group.isdecimal() else uid
    return f"rw,exec,nosuid,nodev,uid={uid},gid={gid},mode=0700,size={size}"


def environment_of(spec: ContainerSpec) -> list[str]:
    """A notebook's environment, as Docker takes it."""
    # One thread per process: OpenBLAS starts one per CPU of the host, and threads count against the pids
    # limit.
    environment = ["OPENBLAS_NUM_THREADS=1", f"TMPNB_BASE_PATH={spec.base_path}"]
    optional = {
        "JUPYTER_TOKEN": spec.token,
        "TMPNB_STATIC_URL": spec.config.static_url,
        "TMPNB_EGRESS": spec.config.told_egress,
        warm.VARIABLE: warm.told(spec.config.warm),
        **web_environment(spec.config),
    }
    return environment + [f"{name}={value}" for name, value in optional.items() if value]


def web_environment(config: ContainerConfig) -> dict[str, str]:
    """What tells programs of the web proxy, and of the certificate authorities to trust."""
    found: dict[str, str] = {}
    if config.egress is Egress.WEB:
        proxy, direct = f"http://127.0.0.1:{WEB_PORT}", "localhost,127.0.0.1,::1"
        for name, value in (("http_proxy", proxy), ("https_proxy", proxy), ("no_proxy", direct)):
            found |= {name: value, name.upper(): value}
    if any(mount.target == CA_BUNDLE for mount in config.mounts):
        found |= dict.fromkeys(_CA_VARIABLES, CA_BUNDLE)
    return found


def _publish(body: dict[str, Any], port: int, ip: str, *, isolated: bool) -> None:
    """Publish `port` on an address of the engine's host (by default loopback), at a port that the kernel picks."""
    body["ExposedPorts"] = {f"{port}/tcp": {}}
    body["HostConfig"]["PortBindings"] = {f"{port}/tcp": [{"HostIp": ip, "HostPort": ""}]}
    if isolated:
        # Docker's own DNS would ask the host's resolver, and names can smuggle data out.
        body["HostConfig"]["Dns"] = ["127.0.0.1"]
        body["HostConfig"]["DnsOptions"] = ["timeout:1", "attempts:1"]  # no name resolves: fail within a second


def runtimes_of(info: Mapping[str, Any]) -> frozenset[str]:
    """The names of the runtimes that an engine has, from `GET /info`."""
    return frozenset(map(str, info.get("Runtimes") or ()))


def has_own_kernel(runtime: str, info: Mapping[str, Any]) -> bool:
    """Whether containers run on gVisor's kernel, by `GET /info`. "" is the engine's default runtime.

    That answer names the runtime's program, or, from Docker 23 on, perhaps only a shim of containerd's.
    """
    name = runtime or str(info.get("DefaultRuntime") or "")
    entry = (info.get("Runtimes") or {}).get(name) or {}
    program = str(entry.get("path") or entry.get("runtimeType") or name)
    return program.rpartition("/")[2] in _OWN_KERNEL


def see_that_it_has(runtime: str, known: Collection[str]) -> None:
    """Raise `EngineError` for a runtime that the engine lacks, with those that it has.

    A shim of containerd's (`io.containerd.kata.v2`) needs no entry in its configuration: only a start can tell.
    """
    if runtime not in known and not runtime.startswith(_SHIM):
        names = ", ".join(sorted(one for one in known if not one.startswith(_SHIM)))
        raise EngineError(
            f"the engine has no runtime {runtime}; it has {names or 'none that it names'}",
            remedy='install it and name it in "runtimes" of the engine\'s daemon.json, or leave --runtime out',
        )


def is_running(entry: Mapping[str, Any]) -> bool:
    """Whether a listed container runs (a paused one counts: it is not dead)."""
    return entry["State"] in ("running", "paused", "restarting")


def has_ended(entry: Mapping[str, Any]) -> bool:
    """Whether a listed container is dead. "created" is not dead: it may be about to start."""
    return not is_running(entry) and entry["State"] != "created"


def is_being_removed(entry: Mapping[str, Any]) -> bool:
    """Whether a listed container is being removed: the engine will not tell its exit any more."""
    return entry["State"] in ("removing", "dead")


def socket_directory_of(entry: Mapping[str, Any]) -> str:
    """This machine's directory for a listed container's socket; "" if it has none."""
    mounts = entry.get("Mounts") or ()
    return next((str(one.get("Source") or "") for one in mounts if one.get("Destination") == SOCKET_DIRECTORY), "")


def reaches_web(entry: Mapping[str, Any]) -> bool:
    """Whether a listed container runs and was started with a way to the web proxy."""
    return is_running(entry) and entry["Labels"].get(LABEL_EGRESS) == Egress.WEB


def exit_of(inspected: Mapping[str, Any]) -> Exit:
    """How a container ended. The OOM flag alone says only that the kernel once killed *something* in it.

    Status 137 says that it was the server.
    """
    state = inspected["State"]
    status = int(state.get("ExitCode") or 0)
    return Exit(status, out_of_memory=bool(state.get("OOMKilled")) and status == 137)


_ENTRY = {"Id": str, "ImageID": str, "Names": list, "Labels": dict, "State": str, "Created": int}


def entry_of(listed: Any) -> dict[str, Any]:
    """What we read of an entry of `GET /containers/json`. Raises `LookupError` or `TypeError` for another shape."""
    entry = {key: listed[key] for key in (*_ENTRY, "Ports", "NetworkSettings", "Mounts")}
    entry["Names"] = entry["Names"] or []
    for key, kind in _ENTRY.items():
        if not isinstance(entry[key], kind):
            raise TypeError(f"{key} is {type(entry[key]).__name__}")
    return entry


def observed_of(
    pool: str,
    container_id: str,
    entry: Mapping[str, Any],
    *,
    socket_directory: str,
    by_port: TcpAddress | None,
    ended: Exit | None,
) -> Observed:
    """Interpret an entry of `GET /containers/json`. `by_port` is its address if it has no socket."""
    created, labels = float(entry["Created"]), entry["Labels"]
    marks = marks_of(pool, container_id, entry["Names"], created)
    base_url = labels.get(LABEL_BASE_URL, links.ROOT)
    address: SocketAddress | TcpAddress | None = None
    if is_running(entry):
        by_socket = labels.get(reach.LABEL_TRANSPORT) == Transport.SOCKET
        address = SocketAddress(socket_directory, SOCKET_NAME) if by_socket else by_port
    return Observed(
        id=container_id,
        state=marks.state,
        config_digest=labels.get(LABEL_CONFIG, ""),
        token=labels.get(LABEL_TOKEN, ""),
        created_unix=created,
        claimed_unix=marks.claimed_unix,
        exit=ended,
        address=address,
        claimed_stamp=marks.claimed_stamp,
        base_url=base_url if links.is_base(base_url) else links.ROOT,
        session_name=host_names.session_name(labels.get(LABEL_SESSION_NAME, "")),
    )


def demultiplex(data: bytes) -> bytes:
    """Extract a log's text from Docker's frames (stream, three zeros, 4 bytes of length)."""
    parts, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at + 4 : at + 8], "big")
        parts.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return b"".join(parts)
