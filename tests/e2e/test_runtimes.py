"""Notebooks run with another runtime of a real engine, and one that it lacks is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.contract.rigs import spec_of
from tests.e2e.own_engine import own_engine
from tests.engine_support import SERVER_COMMAND_SOCKET, docker
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import Transport
from tmpnb_py.engines.docker.engine import DockerEngine

pytestmark = [pytest.mark.engine, pytest.mark.long, pytest.mark.timeout(180)]


async def test_another_runtime(server_image: str, pool: str, tmp_path: Path) -> None:
    with own_engine(options=("--add-runtime", "other=runc")) as own:
        own.load(server_image)
        engine = DockerEngine(pool=pool, runtime_dir=tmp_path, docker_host=own.host)
        await engine.open()
        try:
            spec = spec_of(await engine.image(server_image), SERVER_COMMAND_SOCKET, runtime="other")
            assert await engine.choose_transport(spec.config) is Transport.SOCKET
            assert [gap for gap in await engine.prepare(spec.config) if gap.protection] == []
            await engine.start(spec)
            found = docker("--host", own.host, "ps", "-q", "--filter", f"label=org.tmpnb.id={spec.id}")
            assert docker("--host", own.host, "inspect", "--format={{.HostConfig.Runtime}}", found) == "other"
            await engine.remove(spec.id)

            lacking = spec_of(await engine.image(server_image), SERVER_COMMAND_SOCKET, runtime="kata")
            for ask in (engine.choose_transport, engine.prepare):
                with pytest.raises(EngineError, match="has no runtime kata; it has other, runc"):
                    await ask(lacking.config)
        finally:
            await engine.close()
