"""What only the Docker engine promises.

Hardening that is really in force, networks, images, and clear errors.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import errno
import io
import json
import os
import socket
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.contract.rigs import MIB, DockerRig, docker_id, fetch, new_id, spec_of
from tests.engine_support import SERVER_IMAGE, base_image, docker, hung
from tmpnb_py.core.errors import (
    ContainerHangsError,
    EngineDownError,
    EngineError,
    EngineForbiddenError,
    ImageBuildError,
    ImageMissingError,
    PoolLockedError,
    SettingsError,
    StartFailedError,
)
from tmpnb_py.core.models import ContainerSpec, Egress, Protection, SocketAddress, State, TcpAddress, Transport
from tmpnb_py.core.units import cpu_per_period
from tmpnb_py.engines import cpu_time
from tmpnb_py.engines.docker import fence, isolation, probe_inside
from tmpnb_py.engines.docker import options as docker_options
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.docker.hold import identity
from tmpnb_py.engines.docker.options import observed_of
from tmpnb_py.engines.local import process as local_process
from tmpnb_py.pools.adoption import session_age

pytestmark = pytest.mark.engine
OWN_KERNEL = "NOTEBOOK_RUNTIME" in os.environ  # the runtime's, in place of the machine's
_seen_from_inside = pytest.mark.skipif(
    OWN_KERNEL,
    reason="gVisor shows a kernel of its own: what limits it is not seen from inside",
)

INSPECT = """
import ctypes, json, os, resource
status = dict(line.rstrip().split(":\\t", 1) for line in open("/proc/self/status") if ":\\t" in line)
def writable(path):
    try:
        open(path + "/x", "w").close()
        os.unlink(path + "/x")
        return "yes"
    except OSError as error:
        return errno.errorcode[error.errno]
import errno
def read(path):
    return open(path).read().strip()
print(json.dumps({
    "uid": os.getuid(), "groups": os.getgroups(), "hostname": os.uname().nodename,
    "status": {key: status[key] for key in ("CapEff", "CapBnd", "Seccomp")},
    "no new privileges": ctypes.CDLL(None).prctl(39, 0, 0, 0, 0),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE), "core": resource.getrlimit(resource.RLIMIT_CORE),
    "interfaces": sorted(os.listdir("/sys/class/net")),
    "write": {path: writable(path) for path in ("/", "/etc", "/tmp", "/home/jovyan", "/run/tmpnb")},
    "mounts": {line.split()[1]: line.split()[3] for line in open("/proc/mounts")},
    "user 0 outside": int(read("/proc/self/uid_map").split()[1]),
    "init": read("/proc/1/comm"),
    "environment": {key: os.environ.get(key) for key in ("JUPYTER_TOKEN", "OPENBLAS_NUM_THREADS",
    "TMPNB_BASE_PATH")},
}))
"""

CONNECT = """
import json, socket
def attempt(host, port):
    with socket.socket() as probe:
        probe.settimeout(1.5)
        try:
            probe.connect((host, port))
            return "connected"
        except OSError as error:
            return type(error).__name__
def name_of(host):
    try:
        return socket.gethostbyaddr(host)[0]
    except OSError as error:
        return ""
def resolves(name):
    try:
        return socket.gethostbyname(name)
    except OSError:
        return ""
"""


async def run(spec: ContainerSpec, address: Any, code: str) -> str:
    """What Python code prints in the container."""
    output = await fetch(address, f"{spec.base_path}exec", data=code)
    assert "Traceback" not in output, output
    return str(output)


def limits_in_force(container: str) -> dict[str, str]:
    """By its first process and its control groups: the machine's kernel keeps to these, whatever is shown inside."""
    pid = docker("inspect", "--format={{.State.Pid}}", container)
    lines = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    groups = {name: path for _, names, path in lines for name in names.split(",")}

    def read(controller: str, version_1: str, version_2: str) -> str:
        if controller in groups:
            return (cpu_time.MOUNT / controller / groups[controller][1:] / version_1).read_text().strip()
        return (cpu_time.MOUNT / groups[""][1:] / version_2).read_text().split()[0]

    return {
        "memory": read("memory", "memory.limit_in_bytes", "memory.max"),
        "pids": read("pids", "pids.max", "pids.max"),
        "cpu": read("cpu", "cpu.cfs_quota_us", "cpu.max"),
        "oom": Path(f"/proc/{pid}/oom_score_adj").read_text().strip(),
    }


async def opened(rig: DockerRig, pool: str) -> DockerEngine:
    engine = rig.engine(pool)
    await engine.open()
    return engine


async def test_hardening_is_in_force(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    address = await engine.start(spec)
    await fetch(address, f"{spec.base_path}api")
    await engine.mark_ready(spec.id)
    seen = json.loads(await run(spec, address, INSPECT))

    assert (seen["uid"], seen["hostname"]) == (1000, "notebook")
    filtered = "0" if OWN_KERNEL else "2"
    assert seen["status"] == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "Seccomp": filtered}
    assert seen["no new privileges"] == 1
    assert (seen["nofile"], seen["core"]) == ([4096, 4096], [0, 0])
    assert [name for name in seen["interfaces"] if name == "lo" or name.startswith("eth")] == ["lo"]
    why = "EACCES" if OWN_KERNEL else "EROFS"  # which of two reasons is told
    assert seen["write"] == {
        "/": why,
        "/etc": why,
        "/tmp": "yes",
        "/home/jovyan": "yes",
        "/run/tmpnb": "EACCES",
    }
    assert seen["mounts"]["/"].startswith("ro")
    assert limits_in_force(docker_id(pool, spec.id)) == {
        "memory": str(spec.config.mem_limit),
        "pids": str(spec.config.pids_limit),
        "cpu": str(cpu_per_period(50_000)),
        "oom": "500",
    }
    assert seen["init"] in ("docker-init", "tini")
    assert seen["environment"] == {
        "JUPYTER_TOKEN": "secret0token",
        "OPENBLAS_NUM_THREADS": "1",
        "TMPNB_BASE_PATH": spec.base_path,
    }
    host = json.loads(docker("inspect", docker_id(pool, spec.id)))[0]["HostConfig"]
    assert host["MemorySwap"] == host["Memory"]
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-file": "1", "max-size": "1m"}}
    assert host["RestartPolicy"]["Name"] in ("no", "")
    await engine.remove(spec.id)


@_seen_from_inside
async def test_what_is_mounted_is_bounded(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    seen = json.loads(await run(spec, await engine.start(spec), INSPECT))
    assert {"noexec", "nosuid", "nodev", f"size={8 * 1024}k"} <= set(seen["mounts"]["/tmp"].split(","))
    assert f"size={12 * 1024}k" in seen["mounts"]["/dev/shm"].split(",")
    home = set(seen["mounts"]["/home/jovyan"].split(","))
    assert {"nosuid", "nodev", "mode=700", f"uid={1000 + seen['user 0 outside']}", f"size={16 * 1024}k"} <= home
    assert "noexec" not in home
    await engine.remove(spec.id)


async def test_without_a_network_localhost_still_has_its_name(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    address = await engine.start(spec)
    seen = await run(spec, address, CONNECT + "print(json.dumps([resolves('localhost'), resolves('notebook')]))")
    assert json.loads(seen) == ["127.0.0.1", "127.0.0.1"]
    code = "try:\n    open('/etc/hosts', 'a')\nexcept OSError as error:\n    print(error.errno)"
    assert int(await run(spec, address, code)) in (errno.EROFS, errno.EACCES)
    inspected = json.loads(docker("inspect", docker_id(pool, spec.id)))[0]
    assert inspected["NetworkSettings"]["SandboxID"] == ""  # what makes starts and claims slower
    await engine.remove(spec.id)


async def test_a_sealed_directory_stays_as_it_is(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    address = await engine.start(spec)
    assert isinstance(address, SocketAddress)
    await fetch(address, f"{spec.base_path}api")
    directory = Path(address.directory)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o777
    assert stat.S_IMODE(directory.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(directory.parent.parent.stat().st_mode) == 0o700
    # What a hostile server may leave before it answers: a link to somewhere else, and a directory of its own.
    outside = docker_rig.directory / "outside"
    outside.mkdir()
    (outside / "precious").touch()
    mine = f"import os; os.symlink({str(outside)!r}, '/run/tmpnb/link'); os.makedirs('/run/tmpnb/a/b')"
    await run(spec, address, mine)
    await engine.mark_ready(spec.id)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o555
    for attempt in (
        "os.unlink('/run/tmpnb/server.sock')",
        "os.chmod('/run/tmpnb', 0o777)",
        "os.mkdir('/run/tmpnb/c')",
    ):
        code = f"import os\ntry:\n    {attempt}\nexcept OSError as error:\n    print(error.errno)"
        assert int(await run(spec, address, code)) in (errno.EACCES, errno.EPERM)
    await engine.remove(spec.id)
    assert not directory.exists()
    assert (outside / "precious").exists()


async def test_removal_takes_anonymous_volumes(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    await engine.start(spec)
    mounts = json.loads(docker("inspect", docker_id(pool, spec.id)))[0]["Mounts"]
    (volume,) = [mount["Name"] for mount in mounts if mount["Type"] == "volume"]
    await engine.remove(spec.id)
    assert volume not in docker("volume", "ls", "-q").split()


async def test_a_port_is_reachable_on_loopback_only(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    specs = [await docker_rig.spec(engine, transport=Transport.PORT) for _ in range(2)]
    await asyncio.gather(*(engine.prepare(specs[0].config) for _ in range(4)))
    addresses = [await engine.start(spec) for spec in specs]
    for spec, address in zip(specs, addresses, strict=True):
        assert isinstance(address, TcpAddress)
        assert address.host == "127.0.0.1"
        assert await fetch(address, f"{spec.base_path}api") == {"version": "fake"}
        with pytest.raises(OSError), socket.create_connection((_own_address(), address.port), timeout=2):  # noqa: PT011
            pass
    inspected = [json.loads(docker("inspect", docker_id(pool, spec.id)))[0] for spec in specs]
    networks = [one["NetworkSettings"]["Networks"] for one in inspected]
    (network,) = networks[1].values()
    neighbour = network["IPAddress"]
    code = f"{CONNECT}\nprint(json.dumps([attempt({neighbour!r}, 8888), attempt('192.0.2.1', 80),"
    code += f" attempt('1.1.1.1', 53), resolves('deb.debian.org'), name_of({neighbour!r})]))"
    to_neighbour, to_gateway, to_web, resolved, name = json.loads(await run(specs[0], addresses[0], code))
    assert to_neighbour in ("OSError", "TimeoutError")
    assert (to_gateway, to_web) == ("OSError", "OSError")  # refused at once, by the fence
    assert resolved == ""
    assert specs[1].id not in name  # Docker's DNS tells neighbours' names; the id is a capability
    for spec in specs:
        await engine.remove(spec.id)
    await engine.remove_networks()
    assert docker("network", "ls", "-q", "--filter", f"label=org.tmpnb.pool={pool}") == ""


def _own_address() -> str:
    """This machine's address towards the outside (nothing is sent)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))
        return str(probe.getsockname()[0])


async def test_networks_are_made_once_and_kept_while_used(docker_rig: DockerRig, pool: str) -> None:
    engines = [await opened(docker_rig, pool) for _ in range(2)]
    spec = await docker_rig.spec(engines[0], egress=Egress.INTERNET)
    await asyncio.gather(*(engine.prepare(spec.config) for engine in engines * 3))
    assert docker("network", "ls", "--filter", f"label=org.tmpnb.pool={pool}", "--format", "{{.Name}}") == (
        f"tmpnb-{pool}-web"
    )
    address = await engines[0].start(spec)
    assert "eth0" in await run(spec, address, "print(open('/proc/net/dev').read())")
    await engines[0].remove_networks()
    assert docker("network", "ls", "-q", "--filter", f"label=org.tmpnb.pool={pool}") != ""
    await engines[0].remove(spec.id)
    await engines[0].remove_networks()


async def test_a_probe_that_a_crash_left_keeps_no_network(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    await engine.prepare((await docker_rig.spec(engine, transport=Transport.PORT)).config)
    labels = ("--label", "org.tmpnb.project=tmpnb-py", "--label", f"org.tmpnb.probe={pool}")
    on = ("--network", f"tmpnb-{pool}-isolated")
    docker("run", "--detach", *on, *labels, docker_rig.image, "sleep", "infinity")
    await engine.remove_pool()
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.probe={pool}")
    assert not docker("network", "ls", "--quiet", "--filter", f"label=org.tmpnb.pool={pool}")


async def test_a_pruned_network_is_made_again(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine, transport=Transport.PORT)
    assert isinstance(await engine.start(spec), TcpAddress)  # never prepared: the same to the engine
    await engine.remove(spec.id)
    await engine.remove_networks()


async def test_a_port_of_a_container_that_ends_at_once(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine, transport=Transport.PORT, command="echo last words; exit 3")
    await engine.prepare(spec.config)
    failed = await asyncio.gather(engine.start(spec), return_exceptions=True)
    if isinstance(failed[0], StartFailedError):  # it depends on who is faster
        assert "status 3" in failed[0].message
        assert failed[0].log_lines == ("last words",)
        assert await docker_rig.remains(pool) == []
    await engine.remove(spec.id)
    await engine.remove_networks()


async def test_out_of_memory_is_told_from_other_deaths(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    # The kernel's word is lost where it comes before the engine listens for it.
    eater = """python3 -c 'import time; time.sleep(1); data = []
while True: data.append(bytearray(8 * 1024 * 1024))'"""
    spec = await docker_rig.spec(engine, command=eater, mem_limit=32 * MIB)
    events = engine.events()
    await anext(aiter(events))
    await engine.start(spec)
    async with asyncio.timeout(60):
        while (ended := (await engine.list())[0].exit) is None:
            await anext(aiter(events))
    assert (ended.status, ended.out_of_memory) == (137, True)
    await events.aclose()  # type: ignore[attr-defined]
    await engine.remove(spec.id)


async def test_names_hold_no_capability_and_hostile_labels_become_no_path(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    await engine.start(spec)
    assert spec.id not in docker("inspect", "--format", "{{.Name}}", docker_id(pool, spec.id))
    labels = ["--label", "org.tmpnb.project=tmpnb-py", "--label", f"org.tmpnb.pool={pool}"]
    for hostile in ("../../etc", "A", "", "a" * 65):
        docker("create", *labels, "--label", f"org.tmpnb.id={hostile}", SERVER_IMAGE, "true")
    copy = docker("create", *labels, "--label", f"org.tmpnb.id={spec.id}", SERVER_IMAGE, "true")  # docker commit's
    (observed,) = await engine.list()
    assert (observed.id, observed.state) == (spec.id, State.STARTING)
    docker("rm", copy)
    entry = {"Created": 0, "Names": [], "State": "created", "Labels": {"org.tmpnb.base-url": "/../etc/"}}
    assert observed_of(pool, spec.id, entry, socket_directory="", ended=None, by_port=None).base_url == "/"
    await engine.remove(spec.id)


async def test_leftover_probes_and_directories_go(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tmpnb_py.engines.docker.leftovers._OLD_SECONDS", -10.0)
    labels = ["--label", "org.tmpnb.project=tmpnb-py", "--label", f"org.tmpnb.probe={pool}"]
    docker("create", *labels, SERVER_IMAGE, "true")
    engine = await opened(docker_rig, pool)
    assert await docker_rig.remains(pool) == []
    spec = await docker_rig.spec(engine)
    await engine.start(spec)
    orphan = docker_rig.directory / "run" / "sockets" / pool / new_id()
    orphan.mkdir()
    second = await opened(docker_rig, pool)
    assert not orphan.exists()
    orphan.mkdir()  # one that was too recent then
    docker("create", *labels, SERVER_IMAGE, "true")  # and this one, too
    assert [one.id for one in await second.list()] == [spec.id]
    assert not orphan.exists()
    await second.remove(spec.id)
    async with asyncio.timeout(30):
        while await docker_rig.remains(pool):
            await asyncio.sleep(0.05)
    assert await docker_rig.remains(pool) == []


async def test_with_the_pool_goes_what_a_crash_left_a_moment_ago(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    await engine.start(spec)
    sockets = docker_rig.directory / "run" / "sockets" / pool
    (sockets / new_id()).mkdir()
    await engine.remove_pool()
    assert [path.name for path in sockets.iterdir()] == [spec.id]  # a container that is there keeps its own
    await engine.remove(spec.id)
    await engine.remove_pool()
    assert await docker_rig.remains(pool) == []


async def test_a_log_is_bounded(docker_rig: DockerRig, pool: str) -> None:
    """More than is ever read, and less than makes Docker begin a new file (which may have just been begun)."""
    engine = await opened(docker_rig, pool)
    talker = """python3 -c 'import sys
for n in range(6000): print(n, "x" * 40, file=sys.stderr if n % 2 else sys.stdout)
sys.stdout.flush()'; sleep 60"""
    spec = await docker_rig.spec(engine, command=talker)
    await engine.start(spec)
    async with asyncio.timeout(30):  # Docker copies each stream apart: one may end more than 64 KiB after the other
        while not "".join(await engine.logs(spec.id, lines=1)).startswith(("5998 ", "5999 ")):
            await asyncio.sleep(0.1)
    lines = await engine.logs(spec.id, lines=20_000)
    assert 30_000 < len("\n".join(lines)) <= 64 * 1024
    assert len(await engine.logs(spec.id, lines=3)) == 3
    await engine.remove(spec.id)


async def test_cpu_time_is_the_same_by_control_groups_and_by_statistics(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A service in a container of its own does not see notebooks' control groups."""
    engine = await opened(docker_rig, pool)
    spec = await docker_rig.spec(engine)
    await engine.start(spec)
    seen = await engine.cpu_seconds([spec.id])
    monkeypatch.setattr(cpu_time, "of_docker", lambda *_: None)
    told = await engine.cpu_seconds([spec.id, new_id()])
    assert told.keys() == seen.keys() == {spec.id}
    assert 0.01 < seen[spec.id] <= told[spec.id] < seen[spec.id] + 1


async def test_a_cancelled_start_leaves_nothing(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    for delay in (0.0, 0.005, 0.03, 0.1):
        spec = await docker_rig.spec(engine)
        task = asyncio.create_task(engine.start(spec))
        await asyncio.sleep(delay)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
            await engine.remove(spec.id)  # this start was quicker than its cancellation
    async with asyncio.timeout(60):
        while left := await engine.list():  # a create that was cut off may come through a moment later
            await engine.remove(left[0].id)
    assert await docker_rig.remains(pool) == []


# Images


def context(**files: str) -> io.BytesIO:
    """A build context."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    buffer.seek(0)
    return buffer


async def test_images_are_built_and_described(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    tag = f"tmpnb-py-test/{pool}:latest"
    dockerfile = (
        f"FROM {SERVER_IMAGE} AS one\nARG WORD\nRUN echo built $WORD\nFROM {SERVER_IMAGE} AS two\nRUN false\n"
    )
    lines = engine.build_image(
        context(Dockerfile=dockerfile),
        tag=tag,
        build_args={"WORD": "well"},
        target="one",
        network="none",
        labels={"org.tmpnb.socket": "false", "org.tmpnb.home": "relative"},
    )
    assert "built well" in [line async for line in lines]
    try:
        facts = await engine.image(tag)
        assert (facts.supports_socket, facts.supports_read_only, facts.home) == (False, True, "")
        assert facts.workshops == "/usr/share/workshops/workshops.toml"
        assert facts.image_id.startswith("sha256:")
        assert await engine.choose_transport(spec_of(facts, "serve").config) is Transport.PORT
        assert await engine.image_exists(tag)
    finally:
        docker("rmi", tag)
    assert not await engine.image_exists(tag)


async def test_a_failed_build_shows_its_last_lines(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    for dockerfile in (f"FROM {SERVER_IMAGE}\nRUN echo the reason; exit 9\n", "NONSENSE\n"):
        with pytest.raises(ImageBuildError) as caught:
            async for _ in engine.build_image(
                context(Dockerfile=dockerfile), tag="x", build_args={}, target=None, network=None, labels={}
            ):
                pass
    assert "NONSENSE" in caught.value.message.upper()


async def test_an_image_is_imported(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)

    async def archive() -> Any:
        yield context(hello="world").getvalue()

    await engine.import_image(archive(), f"tmpnb-py-test/{pool}", "imported")
    assert await engine.image_exists(f"tmpnb-py-test/{pool}:imported")
    docker("rmi", f"tmpnb-py-test/{pool}:imported")


async def test_what_cannot_be_pulled(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    with pytest.raises(ImageMissingError):
        async for _ in engine.pull_image("127.0.0.1:1/nothing/here:1"):
            pass


# What is verified in a container


async def test_rules_go_though_their_image_has_gone(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await opened(docker_rig, pool)
    await engine.prepare((await docker_rig.spec(engine, transport=Transport.PORT)).config)
    monkeypatch.setattr(docker_options, "LABEL_IMAGE", docker_options.LABEL_POOL)  # whose value names no image
    later = await opened(docker_rig, pool)
    with capture_logs() as logs:
        await later.remove_networks()
    assert logs == []


async def test_a_network_of_an_earlier_version_is_closed_too(docker_rig: DockerRig, pool: str) -> None:
    name = f"tmpnb-{pool}-isolated"
    labels = ["--label", "org.tmpnb.project=tmpnb-py", "--label", f"org.tmpnb.pool={pool}"]
    docker("network", "create", *labels, "-o", "com.docker.network.bridge.enable_icc=false", name)
    engine = await opened(docker_rig, pool)
    assert await engine.prepare((await docker_rig.spec(engine, transport=Transport.PORT)).config) == ()
    with capture_logs() as logs:
        await engine.remove_networks()
    assert logs == []


async def test_a_kernel_that_refuses_the_firewall(
    docker_rig: DockerRig, pool: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = tmp_path / "rules.py"
    rules.write_text('print(\'{"error": "EPERM: Operation not permitted", "changed": true, "resolvers": []}\')')
    monkeypatch.setattr(fence, "_RULES", rules)
    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine, transport=Transport.PORT)).config
    for _ in range(2):  # the second time it is remembered
        (gap,) = await engine.prepare(config)
        assert gap.protection is Protection.NETWORK
        assert "EPERM" in gap.text
    with capture_logs() as logs:
        await engine.remove_networks()
    assert [line["event"] for line in logs] == ["fence_left"]


async def test_a_probe_that_fails_for_another_reason_says_nothing_about_sockets(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine)).config
    with pytest.raises(EngineError, match=r"(?i)memory"):  # which the engine refuses
        await engine.choose_transport(dataclasses.replace(config, mem_limit=1))
    monkeypatch.setattr(isolation, "_SOCKET_SECONDS", 1.0)
    text = Path(probe_inside.__file__).read_text()
    text = text.replace("while server is not None:", "while server is not None and not time.sleep(9):")
    (docker_rig.directory / "slow.py").write_text(text)
    monkeypatch.setattr(isolation, "_INSIDE", docker_rig.directory / "slow.py")
    with pytest.raises(EngineError, match="did not answer"):
        await engine.choose_transport(config)
    monkeypatch.undo()
    assert await engine.choose_transport(config) is Transport.SOCKET
    assert await docker_rig.remains(pool) == []


async def test_a_directory_that_a_visitor_could_unseal_is_no_way(docker_rig: DockerRig, pool: str) -> None:
    """Where the container's user has the number of this process."""
    if "name=userns" in docker("info", "--format", "{{.SecurityOptions}}"):
        pytest.skip("no user of a container has a number of this machine's: the engine remaps them")
    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine, user=str(os.geteuid()))).config
    with capture_logs() as logs:
        for _ in range(2):
            assert await engine.choose_transport(config) is Transport.PORT
    assert [line["event"] for line in logs] == ["socket_unusable"]  # once, though it is asked at each listing
    by_port = await engine.prepare(dataclasses.replace(config, transport=Transport.PORT))
    assert [(gap.protection, "ports instead of sockets" in gap.text) for gap in by_port] == [(None, True)]
    (gap,) = await engine.prepare(config)
    assert gap.protection is Protection.DISK
    assert "--container-user" in gap.remedy
    other = dataclasses.replace(config, user="1001:1000")
    assert await engine.choose_transport(other) is Transport.SOCKET
    assert await engine.prepare(other) == ()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        pytest.param({"PidsLimit": 0}, Protection.PROCESSES, marks=_seen_from_inside),
        ({"Memory": 0, "MemorySwap": 0}, Protection.MEMORY),
        ({"CapDrop": []}, Protection.PRIVILEGES),
        pytest.param({"SecurityOpt": []}, Protection.PRIVILEGES, marks=_seen_from_inside),
        pytest.param(
            {"SecurityOpt": ["no-new-privileges", "seccomp=unconfined"]}, Protection.SECCOMP, marks=_seen_from_inside
        ),
    ],
)
async def test_what_an_engine_takes_and_does_not_apply_is_found_out(
    docker_rig: DockerRig,
    pool: str,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    missing: Protection,
) -> None:
    body = docker_options.create_body

    def changed(*arguments: Any, **options: Any) -> dict[str, Any]:
        made = body(*arguments, **options)
        made["HostConfig"] |= change
        return made

    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine)).config
    assert await engine.prepare(config) == ()
    monkeypatch.setattr(docker_options, "create_body", changed)
    await engine.open()  # as after a restart: everything is found out anew
    assert missing in [gap.protection for gap in await engine.prepare(config)]


def without_limit_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on the engine applies none to what is made like a notebook."""
    body = docker_options.create_body

    def changed(*arguments: Any, **options: Any) -> dict[str, Any]:
        made = body(*arguments, **options)
        made["HostConfig"] |= {"PidsLimit": 0}
        return made

    monkeypatch.setattr(docker_options, "create_body", changed)


@_seen_from_inside
@pytest.mark.parametrize("transport", [Transport.SOCKET, Transport.PORT])
async def test_what_was_missing_is_looked_at_again(docker_rig: DockerRig, pool: str, transport: Transport) -> None:
    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine, transport=transport)).config
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(isolation, "_AGAIN_SECONDS", 0.0)
        without_limit_of_processes(patched)
        assert Protection.PROCESSES in [gap.protection for gap in await engine.prepare(config)]
    assert await engine.prepare(config) == ()  # the operator has put it right
    await engine.remove_networks()


@_seen_from_inside
async def test_after_the_engines_end_all_is_looked_at_again(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be set otherwise now. Its end is known by that of the hold."""
    engine = await opened(docker_rig, pool)
    config = (await docker_rig.spec(engine)).config
    lost = asyncio.Event()
    await engine.hold(docker_rig.image, lost.set)
    assert await engine.prepare(config) == ()
    without_limit_of_processes(monkeypatch)
    docker_rig.forwarder.cut()
    async with asyncio.timeout(60):
        await lost.wait()
    assert Protection.PROCESSES in [gap.protection for gap in await engine.prepare(config)]


async def test_an_image_that_cannot_pass_a_socket_goes_by_port(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    lines = engine.build_image(
        context(Dockerfile=f'FROM {base_image()}\nLABEL org.tmpnb.socket="true"\n'),
        tag=f"tmpnb-py-test/{pool}:nopython",
        build_args={},
        target=None,
        network=None,
        labels={},
    )
    assert [line async for line in lines]
    facts = await engine.image(f"tmpnb-py-test/{pool}:nopython")
    config = spec_of(facts, "serve").config
    assert await engine.choose_transport(config) is Transport.PORT
    assert [gap.protection for gap in await engine.prepare(config)] == [Protection.VERIFICATION]
    (gap,) = await engine.prepare(dataclasses.replace(config, transport=Transport.PORT))
    assert gap.text.endswith("the image has no python3")
    assert await docker_rig.remains(pool) == []
    docker("rmi", f"tmpnb-py-test/{pool}:nopython")


# Engines that cannot be used


async def refused(tmp_path: Path, host: str | None) -> EngineDownError:
    """How `open()` fails."""
    engine = DockerEngine(pool="none", runtime_dir=tmp_path, docker_host=host, call_timeout=2.0)
    with pytest.raises(EngineDownError) as caught:
        await engine.open()
    await engine.close()
    assert caught.value.remedy
    return caught.value


async def test_engines_that_are_not_there(tmp_path: Path, unused_tcp_port: int) -> None:
    absent = await refused(tmp_path, f"unix://{tmp_path}/no.sock")
    assert "no Docker engine at unix://" in absent.message
    assert "DOCKER_HOST" in absent.remedy
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(f"{tmp_path}/dead.sock")
    assert "nothing listens" in (await refused(tmp_path, f"unix://{tmp_path}/dead.sock")).message
    assert "nothing listens" in (await refused(tmp_path, f"tcp://127.0.0.1:{unused_tcp_port}")).message
    for wrong in ("docker.sock", "unix://", "ftp://x", "tcp://", "tcp://host:port", "ssh://host"):
        assert "DOCKER_HOST" in (await refused(tmp_path, wrong)).message


async def test_what_answers_is_not_docker(tmp_path: Path) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def web(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    for serve, words in ((silent, "did not answer in time"), (web, "not a usable Docker engine")):
        async with await asyncio.start_unix_server(serve, tmp_path / "engine.sock"):
            assert words in (await refused(tmp_path, f"unix://{tmp_path}/engine.sock")).message


async def test_tls_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:2376")
    missing = await refused(tmp_path, None)
    assert "ca.pem and no cert.pem and no key.pem" in missing.message
    assert "DOCKER_CERT_PATH" in missing.remedy
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / name).write_text("nonsense")
    assert "cannot use" in (await refused(tmp_path, None)).message


FORBIDDEN = """
import asyncio, os, pathlib, sys
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.core.errors import EngineForbiddenError
os.setgroups([]); os.setgid(65534); os.setuid(65534)
async def main():
    engine = DockerEngine(pool="none", runtime_dir=pathlib.Path("/nonexistent"), docker_host=sys.argv[1])
    try:
        await engine.open()
    except EngineForbiddenError as error:
        print(error.message, error.remedy, sep="|")
    finally:
        await engine.close()
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_socket_that_this_user_may_not_open(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{tmp_path}/engine.sock")
        server.listen()
        (tmp_path / "engine.sock").chmod(0o600)
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN, f"unix://{tmp_path}/engine.sock"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
            cwd=Path(__file__).parents[2],
        )
    message, _, remedy = done.stdout.strip().partition("|")
    assert "may not use the Docker engine" in message, done.stderr
    assert "group docker" in remedy


def test_pools_with_impossible_names(tmp_path: Path) -> None:
    for wrong in ("", "../x", "a/b", "-x", "a" * 65):
        with pytest.raises(SettingsError):
            DockerEngine(pool=wrong, runtime_dir=tmp_path)
    assert issubclass(EngineForbiddenError, EngineDownError)


# One manager per pool


async def test_a_hold_that_somebody_removes_is_told_and_taken_again(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    lost = asyncio.Event()
    await engine.hold(docker_rig.image, lost.set)
    while not docker("ps", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}"):
        await asyncio.sleep(0.05)
    began = time.monotonic()
    docker("stop", "--time", "60", f"tmpnb.{pool}.manager")
    assert time.monotonic() - began < 30  # an engine that ends asks it so, and would wait for it
    async with asyncio.timeout(60):
        await lost.wait()
    await engine.hold(docker_rig.image, lost.set)
    assert docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}")
    await engine.close()
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}")


async def test_a_hold_outlives_nobody(docker_rig: DockerRig, pool: str) -> None:
    """Neither a connection that breaks, nor a crash between making it and starting it, nor an engine's restart."""
    engine = await opened(docker_rig, pool)
    lost = asyncio.Event()
    await engine.hold(docker_rig.image, lost.set)
    docker_rig.forwarder.cut()
    async with asyncio.timeout(60):
        await lost.wait()
        while docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}"):
            await asyncio.sleep(0.05)
    left = ("--name", f"tmpnb.{pool}.manager", "--label", f"org.tmpnb.manager={pool}")
    docker("create", *left, docker_rig.image, "true")
    await engine.hold(docker_rig.image, lost.set)
    await engine.close()
    nobody = json.dumps({**identity(), "pid": 1 << 22})  # which is no process's number here
    held = (*left, "--label", f"org.tmpnb.holder={nobody}")
    docker("run", "--detach", *held, docker_rig.image, "sleep", "infinity")
    began = time.monotonic()
    await engine.open()
    await engine.hold(docker_rig.image, lost.set)
    assert time.monotonic() - began < 20
    await engine.close()


async def test_a_hold_of_a_manager_that_lives_is_nobody_elses_though_its_start_is_slow(
    docker_rig: DockerRig, pool: str
) -> None:
    living = json.dumps({**identity(), "hold": "another"})
    left = ("--name", f"tmpnb.{pool}.manager", "--label", f"org.tmpnb.manager={pool}")
    docker("create", *left, "--label", f"org.tmpnb.holder={living}", docker_rig.image, "true")
    engine = await opened(docker_rig, pool)
    with pytest.raises(PoolLockedError):
        await engine.hold(docker_rig.image, lambda: None)
    docker("rm", f"tmpnb.{pool}.manager")


@pytest.fixture
def of_another() -> Iterator[int]:
    """The id of a living process that is neither this one nor its parent."""
    with subprocess.Popen(["sleep", "infinity"]) as process:
        yield process.pid
        process.kill()


def _leaving(docker_rig: DockerRig, pool: str, whose: int) -> str:
    """The name of the hold of a manager in this process that hands the pool on."""
    try:
        process = local_process.identify(whose)
        about = {"pid": process.pid, "started": process.started}
    except OSError:
        about = {"pid": whose}  # no process's number here
    leaving, holder = f"tmpnb.{pool}.manager.leaving", json.dumps({**identity(), **about})
    of = ("--label", f"org.tmpnb.manager={pool}", "--label", f"org.tmpnb.holder={holder}")
    docker("run", "--detach", "--name", leaving, *of, docker_rig.image, "sleep", "infinity")
    return leaving


def _holds(pool: str) -> str:
    return docker("ps", "--all", "--format", "{{.Names}}", "--filter", f"label=org.tmpnb.manager={pool}")


@pytest.mark.parametrize("whose", [os.getppid(), os.getpid(), 1 << 22], ids=["parent", "itself", "nobody"])
async def test_a_child_follows_a_manager_that_hands_the_pool_on(docker_rig: DockerRig, pool: str, whose: int) -> None:
    _leaving(docker_rig, pool, whose)
    engine = await opened(docker_rig, pool)
    await engine.hold(docker_rig.image, lambda: None)
    assert _holds(pool) == f"tmpnb.{pool}.manager"


async def test_nobody_but_a_child_follows_a_manager_that_hands_the_pool_on(
    docker_rig: DockerRig, pool: str, of_another: int
) -> None:
    leaving = _leaving(docker_rig, pool, of_another)
    engine = await opened(docker_rig, pool)
    with pytest.raises(PoolLockedError, match=f"process {of_another} on"):
        await engine.hold(docker_rig.image, lambda: None)
    assert _holds(pool) == leaving


async def test_a_left_hold_that_hangs_keeps_nobody_from_serving(docker_rig: DockerRig, pool: str) -> None:
    """No call that concerns that one container is answered, but the engine is."""
    nobody = json.dumps({**identity(), "pid": 1 << 22})  # which is no process's number here
    left = ("--name", f"tmpnb.{pool}.manager", "--label", f"org.tmpnb.manager={pool}")
    of = ("--label", f"org.tmpnb.holder={nobody}")
    hanging = docker("run", "--detach", *left, *of, docker_rig.image, "sleep", "99")
    engine = docker_rig.engine(pool, call_timeout=2.0)
    await engine.open()
    with hung(hanging):
        await engine.hold(docker_rig.image, lambda: None)
        assert not engine._hold.is_held
    await engine.close()
    async with asyncio.timeout(60):  # now its removal goes on
        while docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}"):
            docker("rm", "--force", f"tmpnb.{pool}.manager", check=False)
            await asyncio.sleep(0.1)


async def test_a_name_that_nobody_gives_back_is_not_waited_for(docker_rig: DockerRig, pool: str) -> None:
    """Engines keep one for nothing after a removal that went wrong; here it is a container that is none of ours."""
    docker("create", "--name", f"tmpnb.{pool}.manager", docker_rig.image, "true")
    engine = await opened(docker_rig, pool)
    async with asyncio.timeout(20):
        await engine.hold(docker_rig.image, lambda: None)
    assert not engine._hold.is_held
    docker("rm", f"tmpnb.{pool}.manager")  # it is left alone


async def test_where_no_image_is_there_yet_nothing_is_held(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    await engine.hold(docker_rig.missing_image, lambda: None)
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}")


async def test_a_claim_of_a_container_that_hangs_says_so_while_the_engine_answers(
    docker_rig: DockerRig, pool: str
) -> None:
    """Its shim is stopped, and a signal for it waits, with the container's lock."""
    engine = docker_rig.engine(pool, call_timeout=2.0)
    await engine.open()
    hanging, other = await docker_rig.spec(engine), await docker_rig.spec(engine)
    for spec in (hanging, other):
        await fetch(await engine.start(spec), f"{spec.base_path}api")
        await engine.mark_ready(spec.id)
    with hung(docker_id(pool, hanging.id)):
        with pytest.raises(ContainerHangsError):
            await engine.claim(hanging.id, 1)
        assert await engine.claim(other.id, 1)
    await asyncio.gather(*(engine.remove(spec.id) for spec in (hanging, other)))


async def test_a_claim_whose_answer_is_lost_is_read_again(docker_rig: DockerRig, pool: str) -> None:
    engine = await opened(docker_rig, pool)
    one, other = (await docker_rig.ready_ones(engine))[:2]
    calling = engine._calling

    @contextlib.asynccontextmanager
    async def losing(doing: str, seconds: float | None = None) -> AsyncIterator[Any]:
        async with calling(doing, seconds) as docker:
            yield docker
        if doing == "claim a container":
            raise EngineDownError("the answer was lost")

    engine._calling = losing
    assert not await engine.claim(other, 1)  # without the hold, somebody else's looks the same
    await engine.hold(docker_rig.image, lambda: None)
    assert await engine.claim(one, 1)
    assert not await engine.claim(one, 2)
    await engine.release()


async def test_a_claim_without_the_hold_begins_when_it_is_seen(docker_rig: DockerRig, pool: str) -> None:
    """Its name says no time, and the pool's wait for its visitor does not count."""
    engine = await opened(docker_rig, pool)
    (one,) = (await docker_rig.ready_ones(engine))[:1]
    assert await engine.claim(one, 1_700_000_000)
    claimed = next(found for found in await engine.list() if found.id == one)
    assert (claimed.state, claimed.claimed_unix, claimed.claimed_stamp) == (State.CLAIMED, 0, "")
    assert session_age(claimed, unix=time.time() + 3600) == 0


async def test_a_rename_that_comes_late_takes_nothing_from_a_claim(docker_rig: DockerRig, pool: str) -> None:
    """As one does that the engine has found by the ready name, and that then waits for long."""
    engine = await opened(docker_rig, pool)
    (one,) = (await docker_rig.ready_ones(engine))[:1]
    assert await engine.claim(one, 1)
    name = docker_options.contested_name(pool, one)
    with pytest.raises(AssertionError, match="same name as its current name"):
        docker("rename", docker_id(pool, one), name)


async def test_an_image_that_cannot_hold_leaves_the_pool_unguarded_and_served(
    docker_rig: DockerRig, pool: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One without a shell, say: that is no reason to refuse service."""
    body = docker_options.holder_body
    monkeypatch.setattr(docker_options, "holder_body", lambda *told: {**body(*told), "Entrypoint": ["/nothing/here"]})
    engine = await opened(docker_rig, pool)
    for _ in range(2):
        await engine.hold(docker_rig.image, lambda: None)
        async with asyncio.timeout(60):
            while engine._hold.is_held:
                await asyncio.sleep(0.05)
    assert not docker("ps", "--all", "--quiet", "--filter", f"label=org.tmpnb.manager={pool}")
    await engine.close()
