"""What notebooks are: their engine, image and command, what they may reach and use."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic_settings import NoDecode

from tmpnb_py.core.models import Egress, Mount
from tmpnb_py.core.units import MIB, TIB
from tmpnb_py.core.warm import AUTO
from tmpnb_py.options import values
from tmpnb_py.options.declaration import CONTAINERS, DOCKER, ONE_MACHINE, Elsewhere, Group, Reload, Tables, option
from tmpnb_py.options.kinds import Kind, Quantity
from tmpnb_py.options.values import Network

DEFAULT_IMAGE = "tmpnb-py-workshops:latest"


class NotebookOptions(Group):
    """Options of each notebook's container."""

    title: ClassVar[str] = "Notebooks"

    engine: Annotated[str, AfterValidator(values.read_engine)] = option(
        "auto",
        "What runs the containers: docker, Docker Swarm (swarm: see swarm.md), this machine in sandboxes of "
        "bubblewrap (local), or an engine of a package that is installed beside (see developing.md). auto is docker "
        "where DOCKER_HOST is set or /var/run/docker.sock exists, and local with 127.0.0.1 as ip where not.",
        reload=Reload.RESTART,
    )
    image: Annotated[str, AfterValidator(values.read_image)] = option(
        DEFAULT_IMAGE,
        "Image that each notebook is started from.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    command: Annotated[str, AfterValidator(values.read_command)] | None = option(
        None,
        "Shell command that starts the notebook server in the container. Placeholders in it: {base_path}, {token}, "
        "and either {socket} or {ip} and {port}.",
        unset="what fits the image",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    interfaces: Annotated[tuple[str, ...], BeforeValidator(values.read_interfaces), NoDecode] = option(
        (),
        "Interfaces of the image that links may open beside Jupyter's own (comma list of the first part of their "
        "paths, such as rstudio,voila,proxy); an image can declare its own (label org.tmpnb.interfaces).",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    warm_kernels: Annotated[tuple[str, ...], BeforeValidator(values.read_warm_kernels), NoDecode] = option(
        (AUTO,),
        "Kernels that are started in each ready notebook before its visitor comes (comma list of names such as "
        "python3,ir, or none), if the image can (label org.tmpnb.warm). auto is the first workshop's, if all ready "
        "notebooks together fit half of the engine's memory with it.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    redirect_uri: str = option(
        "/lab",
        "Page that a new notebook opens at if the link names no document.",
        reload=Reload.AT_ONCE,
        tables=Tables.INHERITED,
    )
    docker_network: Annotated[str, AfterValidator(values.read_network_name)] | None = option(
        None,
        "Existing network of the engine to attach notebooks to. They are reached there by address, and that network "
        "decides what they can reach.",
        unset="one that fits transport and egress",
        reload=Reload.RESTART,
        engines=DOCKER,
        elsewhere=Elsewhere.REFUSED,
        tables=Tables.INHERITED,
    )
    host_network: bool = option(
        False,
        "Whether notebooks share the host's network. Nothing isolates them there, so an admin token is required.",
        reload=Reload.RESTART,
        engines=DOCKER,
        elsewhere=Elsewhere.REFUSED,
        tables=Tables.INHERITED,
    )
    runtime: Annotated[str, AfterValidator(values.read_runtime)] | None = option(
        None,
        "Runtime of the engine that notebooks run with (runsc, kata and so on), for stronger walls between visitors "
        "and the machine.",
        unset="the engine's default",
        reload=Reload.RENEW,
        engines=DOCKER,
        elsewhere=Elsewhere.REFUSED,
        tables=Tables.INHERITED,
    )
    transport: Literal["auto", "socket", "port", "address"] = option(
        "auto",
        "How the proxy reaches a container: by a Unix socket, a port on loopback, its address on docker_network, or "
        "whichever works (auto).",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    egress: Egress = option(
        Egress.NONE,
        "What notebooks can reach: nothing (none), the public web through this service's proxy (web), or the public "
        "internet (internet). Neither includes private and link-local addresses, or the engine's machine.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    egress_allow: Annotated[tuple[Network, ...], BeforeValidator(values.read_reach), NoDecode] = option(
        (),
        "Addresses and networks that notebooks can reach beside the public internet (comma list such as "
        "10.1.0.0/16); * opens everything, including this machine. Requires egress web or internet.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    egress_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_web_hosts), NoDecode] = option(
        (),
        "The only hosts that notebooks can reach with egress web (comma list of names, such as "
        "pypi.org,*.pythonhosted.org,example.org:8443; *. is all names below one). An empty list is every host.",
        reload=Reload.AT_ONCE,
        engines=ONE_MACHINE,
        elsewhere=Elsewhere.REFUSED,
        tables=Tables.INHERITED,
    )
    egress_ports: Annotated[tuple[int, ...], BeforeValidator(values.read_ports), NoDecode] = option(
        (80, 443),
        "Ports that notebooks can reach with egress web (comma list), beside those that egress_hosts names.",
        reload=Reload.AT_ONCE,
        engines=ONE_MACHINE,
        tables=Tables.INHERITED,
    )
    egress_connections: Annotated[int, Quantity(Kind.NUMBER, 1, 4096)] = option(
        32,
        "Connections that each notebook can have open with egress web (number); further ones wait.",
        reload=Reload.AT_ONCE,
        engines=ONE_MACHINE,
        tables=Tables.INHERITED,
    )
    egress_rate: Annotated[int, Quantity(Kind.SIZE, 1024, TIB, zero="no limit")] = option(
        8 * MIB,
        "Bytes per second that each notebook can move with egress web, in both directions together (size); 0 is no "
        "limit.",
        reload=Reload.AT_ONCE,
        engines=ONE_MACHINE,
        tables=Tables.INHERITED,
    )
    log_egress_hosts: bool = option(
        False,
        "Whether the log's events of the web proxy (web_reached, web_refused) name the hosts that notebooks ask for.",
        reload=Reload.AT_ONCE,
        engines=ONE_MACHINE,
        tables=Tables.INHERITED,
    )
    notebook_ca_bundle: Annotated[str, AfterValidator(values.read_file_of_engine)] | None = option(
        None,
        "File on the engine's host with the certificate authorities that notebooks trust (PEM, all of them), such as "
        "/etc/ssl/certs/ca-certificates.crt of a machine that knows a company's own.",
        unset="what the image has",
        reload=Reload.RENEW,
        engines=CONTAINERS,
        tables=Tables.INHERITED,
    )
    accept_missing: Annotated[tuple[str, ...], BeforeValidator(values.read_protections), NoDecode] = option(
        (),
        "Protections that notebooks may lack if the engine does not provide them (comma list of network, "
        "privileges, seccomp, memory, processes, disk, verification); no notebook starts without the others.",
        reload=Reload.RENEW,
        engines=CONTAINERS,
        tables=Tables.INHERITED,
    )
    container_ip: Annotated[str, AfterValidator(values.read_address)] = option(
        "127.0.0.1",
        "Address of the engine's host that ports are published on; with host_network, the address that notebook "
        "servers listen on.",
        reload=Reload.RESTART,
        engines=DOCKER,
        tables=Tables.INHERITED,
    )
    container_port: Annotated[int, Quantity(Kind.NUMBER, 1, 65535)] = option(
        8888,
        "Port that the notebook server listens on in its container; with host_network, the first port to try.",
        reload=Reload.RESTART,
        engines=DOCKER,
        tables=Tables.INHERITED,
    )
    container_user: Annotated[str, AfterValidator(values.read_user)] = option(
        "1000",
        "User that runs the command, with or without a group, such as 1000:100. If it is not given and the image has "
        "several (its label org.tmpnb.users), notebooks are shared out among them.",
        reload=Reload.RENEW,
        engines=CONTAINERS,
        tables=Tables.INHERITED,
    )
    host_directories: Annotated[tuple[Mount, ...], BeforeValidator(values.read_mounts), NoDecode] = option(
        (),
        "Directories of the engine's host that every notebook sees (comma list of /host:/mount:ro or rw); with rw, "
        "every visitor can change them.",
        reload=Reload.RENEW,
        engines=CONTAINERS,
        tables=Tables.INHERITED,
    )
    extra_hosts: Annotated[tuple[str, ...], BeforeValidator(values.read_extra_hosts), NoDecode] = option(
        (),
        "Host names that notebooks resolve without DNS (comma list of name:address).",
        reload=Reload.RENEW,
        engines=DOCKER,
        tables=Tables.INHERITED,
    )
    mem_limit: Annotated[int, Quantity(Kind.SIZE, 64 * MIB, 64 * TIB)] = option(
        512 * MIB,
        "Memory of each container (size, at least 64m); it gets no swap in addition.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    cpu_quota: Annotated[int, Quantity(Kind.NUMBER, 1000, 1_000_000_000, zero="no limit")] = option(
        50000,
        "CPU time of each container in microseconds per 100 ms: 50000 is half a CPU, 0 is no limit.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    cpu_shares: Annotated[int, Quantity(Kind.NUMBER, 2, 262_144, zero="the engine's default")] = option(
        0,
        "CPU weight of each container under contention (1024 is usual); 0 is the engine's default.",
        reload=Reload.RENEW,
        engines=CONTAINERS,
        tables=Tables.INHERITED,
    )
    pids_limit: Annotated[int, Quantity(Kind.NUMBER, 32, 4_194_304, zero="no limit")] = option(
        256,
        "Processes and threads of each container (number, at least 32); 0 is no limit.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    home_size: Annotated[int, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        256 * MIB,
        "Space in each home directory (size), if the image lets it be limited.",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    tmp_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        None,
        "Space in each /tmp (size), if the image has a read-only root; its content counts as memory.",
        unset="half of mem_limit",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    shm_size: Annotated[int | None, Quantity(Kind.SIZE, MIB, 64 * TIB)] = option(
        None,
        "Shared memory of each container, its /dev/shm (size); its content counts as memory.",
        unset="half of mem_limit",
        reload=Reload.RENEW,
        tables=Tables.INHERITED,
    )
    use_tokens: bool = option(
        True, "Whether each notebook server demands its own token.", reload=Reload.RENEW, tables=Tables.INHERITED
    )

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
            raise ValueError("opens nothing while egress is none: add egress web or internet")
        return allow

    @field_validator("egress")
    @classmethod
    def _web_has_no_network(cls, egress: Egress, info: ValidationInfo) -> Egress:
        if egress is Egress.WEB and (info.data.get("docker_network") or info.data.get("host_network")):
            raise ValueError("is web, but a network of your own decides what notebooks reach there: leave one out")
        return egress

    @field_validator("egress_hosts")
    @classmethod
    def _proxy_is_there(cls, hosts: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if hosts and info.data.get("egress") is not Egress.WEB:
            raise ValueError("is checked by the web proxy: add egress web")
        return hosts

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

    @property
    def opens_everything(self) -> bool:
        """Whether notebooks may reach whatever the engine's machine reaches."""
        return {str(network) for network in self.egress_allow} >= set(values.EVERYTHING)

    @property
    def tmp_bytes(self) -> int:
        """Room in `/tmp`: `tmp_size`, or as Linux does it, half of the memory."""
        return self.tmp_size or self.mem_limit // 2

    @property
    def shm_bytes(self) -> int:
        """Room in `/dev/shm`: `shm_size`, or half of the memory."""
        return self.shm_size or self.mem_limit // 2
