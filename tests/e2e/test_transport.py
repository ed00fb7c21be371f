"""The ways to a container beside the default one, and the start lines of other images."""

from __future__ import annotations

import pytest

from tests.e2e.jupyter import Notebook
from tests.e2e.service import Deployment
from tests.engine_support import SERVER_COMMAND_PORT

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("options", [("--transport=port",), ()], ids=["named", "by its command"])
async def test_a_port_on_loopback(deployment: Deployment, server_image: str, options: tuple[str, ...]) -> None:
    service = deployment.start(
        f"--image={server_image}", f"--command={SERVER_COMMAND_PORT}", "--pool-size=1", *options
    )
    async with service.http() as client:
        spawned = await service.spawn(client)
        async with client.get(f"{spawned['url']}some/path?x=%20y") as response:
            answer = await response.json()
        assert answer == {"method": "GET", "path": f"{spawned['url']}some/path?x=%20y", "id": spawned["id"]}
    container = deployment.docker_id(spawned["id"])
    published = deployment.docker("port", container)
    assert "127.0.0.1" in published
    assert "0.0.0.0" not in published.partition("->")[2]
    assert service.found("transport_chosen")[0]["transport"] == "port"
    assert not service.found("protection_missing")
    # Taken up again after a crash, at the same port.
    service.kill()
    service = deployment.start(
        f"--image={server_image}", f"--command={SERVER_COMMAND_PORT}", "--pool-size=1", *options
    )
    await service.ready(1)
    async with service.http() as client, client.get(f"{spawned['url']}api") as response:
        assert response.status == 200


async def test_a_start_line_as_tmpnb_had_it(deployment: Deployment, workshop_image: str) -> None:
    command = (
        "start-notebook.sh --no-browser --ServerApp.port={port} --ServerApp.ip={ip} "
        "--ServerApp.base_url=/{base_path} --ServerApp.port_retries=0 "
        "--ServerApp.allow_origin='*' --IdentityProvider.token={token} --debug"
    )
    service = deployment.start(f"--image={workshop_image}", f"--command={command}", "--pool-size=1", "--cpu-quota=0")
    async with service.http() as client:
        notebook = Notebook.of(client, await service.spawn(client))
        assert await notebook.run("print(6 * 7)") == "42\n"


async def test_no_token_is_on_a_command_line(deployment: Deployment, workshop_image: str) -> None:
    """Every user of the machine can read those; the server demands its token all the same."""
    service = deployment.start(f"--image={workshop_image}", "--pool-size=1", "--cpu-quota=0")
    async with service.http() as client:
        spawned = await service.spawn(client)
        assert spawned["token"]
        shown = deployment.docker("top", deployment.docker_id(spawned["id"]), "-eo", "pid,args")
        assert "jupyter" in shown
        assert spawned["token"] not in shown
        for headers, status in (({}, 403), ({"Authorization": f"token {spawned['token']}"}, 200)):
            async with client.get(f"{spawned['url']}api/contents", headers=headers) as response:
                assert response.status == status


async def test_without_tokens_the_id_alone_opens_the_notebook(deployment: Deployment, workshop_image: str) -> None:
    service = deployment.start("--no-use-tokens", "--pool-size=1", "--cpu-quota=0")
    async with service.http() as client:
        spawned = await service.spawn(client)
        assert (spawned["token"], spawned["open_url"]) == ("", f"{spawned['url']}lab")
        async with client.get(f"{spawned['url']}api/contents") as response:
            assert response.status == 200


async def test_a_pool_larger_than_the_memory_is_a_warning_with_figures(
    deployment: Deployment, small: list[str]
) -> None:
    memory = int(deployment.docker("info", "--format", "{{.MemTotal}}"))
    limit = memory // 2 >> 20
    service = deployment.start(*small, "--pool-size=3", f"--mem-limit={limit}m")
    warning = await service.event("pool_larger_than_memory")
    assert warning["level"] == "warning"
    assert (warning["pool_size"], warning["mem_limit_mib"], warning["fitting"]) == (3, limit, 2)
    assert warning["engine_memory_mib"] == memory >> 20
    assert "lower pool_size or mem_limit" in warning["hint"]
    assert (await service.ready(3))["capacity"] == 3
