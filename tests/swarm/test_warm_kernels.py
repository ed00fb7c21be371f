"""Kernels that are ready before visitors come, in notebooks on another node than the service's manager."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import WARM, Deployment
from tests.e2e.test_warm_kernels import is_warm
from tests.swarm.nodes import Node
from tests.swarm.relays import swarm_with_relays
from tmpnb_py.engines.swarm import naming, services
from tmpnb_py.engines.swarm.api import EngineApi

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.waits, pytest.mark.timeout(900)]

_READY_SECONDS = 180.0
_UNUSED_SECONDS = 60.0  # docs/operating.md
# A kernel that somebody starts in a ready notebook, as only its own server's file tells how to.
_TAKE = """
import glob, json, socket, http.client
told = json.load(open(glob.glob('/home/jovyan/.local/share/jupyter/runtime/jpserver-*.json')[0]))
link = http.client.HTTPConnection('localhost')
link.sock = socket.socket(socket.AF_UNIX)
link.sock.connect(told['sock'])
headers = {'Authorization': 'token ' + told['token'], 'Content-Type': 'application/json'}
link.request('POST', told['base_url'] + 'api/kernels', json.dumps({'name': 'bash'}), headers)
print(link.getresponse().status)
"""


async def test_a_notebook_of_another_node_has_its_kernels_before_its_visitor(
    workshop_image: str, pool: str, swarm_docker: str
) -> None:
    with (
        swarm_with_relays(count=2, version=swarm_docker) as relays,
        Deployment(pool, docker_host=relays.swarm.manager.host).ended() as deployment,
    ):
        manager, worker = relays.swarm.nodes
        for node in (manager, worker):  # one after the other: it all takes memory
            relays.swarm.load(workshop_image, nodes=[node])
        options = (
            "--engine=swarm", f"--swarm-relays={','.join(relays.names)}", f"--swarm-secret={relays.secret}",
            "--swarm-constraint=node.role==worker", f"--image={workshop_image}", "--max-containers=5",
            "--cpu-quota=0", "--start-timeout=3m",
        )  # fmt: skip

        # By default: the first workshop's kernel, and who comes first gets it.
        service = deployment.start(*options, "--pool-size=1", WARM)
        await is_warm(service, seconds=_READY_SECONDS, python3=1)
        async with service.http() as client:
            began = time.monotonic()
            notebook = Notebook.of(client, await service.spawn(client, "lab/tree/introduction-to-python"))
            assert worker.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={notebook.id}")
            assert await notebook.call("GET", "api/kernels") == []
            kernel_id = await notebook.new_kernel()
            assert await notebook.run("print(6 * 7)", kernel_id) == "42\n"
            warm = time.monotonic() - began
            assert await states(notebook) == {"python3": "taken"}
            began = time.monotonic()
            assert await notebook.run("print(6 * 7)") == "42\n"
            print(f"claim to output: {warm:.2f} s; kernel to output, not warm: {time.monotonic() - began:.2f} s")
            async with client.get("/metrics") as response:
                assert 'tmpnb_warm_claims_total{outcome="warm"} 1.0' in await response.text()
        await service.admin("DELETE", f"/api/sessions/{notebook.id}")
        service.stop()

        # Two kernels in each of two. One loses Bash's; a service that is started anew finds that out.
        told = "--warm-kernels=python3,bash"
        first = deployment.start(*options, "--pool-size=2", told)
        await is_warm(first, seconds=_READY_SECONDS, python3=2, bash=2)
        before, after = await listed(manager, pool)
        container = worker.docker("ps", "-q", "--filter", f"label=org.tmpnb.id={before}")
        assert worker.docker("exec", container, "python3", "-c", _TAKE) == "201"
        first.kill()
        service = deployment.start(*options, "--pool-size=2", told)
        await is_warm(service, seconds=_READY_SECONDS, python3=2, bash=1)
        async with service.http() as client:
            notebook = Notebook.of(client, await service.spawn(client, "lab/tree/the-shell-for-data-work"))
            assert notebook.id == after, "where Bash is warm, though the other one is listed first"
            body = {"path": "x.ipynb", "type": "notebook", "name": "x.ipynb", "kernel": {"name": "bash"}}
            kernel_id = (await notebook.call("POST", "api/sessions", body, status=201))["kernel"]["id"]
            assert await states(notebook) == {"python3": "ready", "bash": "taken"}
            assert await notebook.run("echo $((6 * 7))", kernel_id) == "42\n"
            async with asyncio.timeout(_UNUSED_SECONDS + 60):
                while (await states(notebook))["python3"] != "ended":
                    await asyncio.sleep(0.5)
            assert [one["id"] for one in await notebook.call("GET", "api/kernels")] == [kernel_id]


async def states(notebook: Notebook) -> dict[str, str]:
    """What its server says of its warm kernels."""
    told = await notebook.call("GET", "api/tmpnb/warm?no_track_activity=1")
    return {one["name"]: one["state"] for one in told["kernels"]}


async def listed(manager: Node, pool: str) -> list[str]:
    """The pool's notebooks in the order in which the swarm lists them, and a service that starts takes them up."""
    api = EngineApi(manager.host)
    await api.open()
    try:
        found = await api.call("GET", "services", params=naming.filters(naming.labels_of(pool)))
    finally:
        await api.close()
    return [services.id_of(one) for one in found]
