"""What goes wrong on the operator's side ends with words that say what to do, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import os
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.inprocess import running
from tests.e2e.service import Deployment, run_to_the_end


@pytest.fixture
def runtime_dir() -> Iterator[Path]:
    """The runtime directory of a service that is not going to run."""
    with tempfile.TemporaryDirectory(prefix="tmpnb-e2e-") as directory:
        yield Path(directory) / "run"


@contextlib.contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def failed(*arguments: str, **env: str) -> tuple[int, list[str]]:
    """The exit code of a `serve` that must fail, and its lines: an error and a remedy, and never a traceback."""
    done = run_to_the_end("serve", "--log-level=error", *arguments, env=env)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "  → " in done.stderr
    return done.returncode, done.stderr.splitlines()


def test_a_port_that_is_taken(runtime_dir: Path) -> None:
    with taken_port() as port:
        code, lines = failed("--ip=127.0.0.1", f"--port={port}", "--admin-port=0", f"--runtime-dir={runtime_dir}")
    assert (code, lines) == (
        5,
        [
            f"error: port {port} on 127.0.0.1 is taken",
            "  → Stop the program that uses it (ss -ltnp shows it), or choose another one with --port.",
        ],
    )
    assert not (runtime_dir / "sockets").exists()


def test_an_admin_port_that_is_taken(runtime_dir: Path) -> None:
    with taken_port() as port:
        code, lines = failed("--port=0", f"--admin-port={port}", f"--runtime-dir={runtime_dir}")
    assert code == 5
    assert lines[0] == f"error: port {port} on 127.0.0.1 is taken"
    assert lines[1].endswith("choose another one with --admin-port.")


def test_an_address_that_is_not_ours(runtime_dir: Path) -> None:
    """No engine need answer for that. Without Docker the local engine would refuse --ip before."""
    where = ["--ip=192.0.2.1", "--port=0", "--admin-port=0", f"--runtime-dir={runtime_dir}"]
    code, lines = failed("--engine=docker", *where, DOCKER_HOST=f"unix://{runtime_dir}/none.sock")
    assert code == 5
    assert lines[0].startswith("error: cannot listen on 192.0.2.1")
    assert "--ip" in lines[1]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--pool-size=many", '--pool-size: "many" is not a whole number'),
        ("--pool-size=-1", "is too small"),
        ("--mem-limit=lots", '--mem-limit: "lots"'),
        ("--cull-timeout=soon", '--cull-timeout: "soon"'),
        ("--transport=pigeon", "choose auto or socket or port"),
        ("--image=-rf", "is not the name of an image"),
        ("--pool-name=../x", "is not a pool's name"),
        ("--ip=nowhere/", "is neither an IP address nor a host name"),
        ("--max-containers=1", "is below pool_size"),
        ("--trusted-proxies=10.0.0.1/8", "is ambiguous"),
    ],
)
def test_a_malformed_option(option: str, words: str, runtime_dir: Path) -> None:
    code, lines = failed(option, f"--runtime-dir={runtime_dir}")
    assert code == 2
    assert words in " ".join(lines)
    assert not runtime_dir.exists()


def test_an_option_that_does_not_exist() -> None:
    done = run_to_the_end("serve", "--pool-sise=3")
    assert done.returncode == 2
    assert "--pool-size" in done.stderr
    assert "Traceback" not in done.stderr


def test_everything_wrong_in_a_file_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "tmpnb.toml"
    file.write_text('pool_sise = 3\ncull_max = "long"\n')
    code, lines = failed(f"--config={file}")
    assert code == 2
    text = "\n".join(lines)
    assert f"pool_sise in {file}: there is no such option; did you mean pool_size?" in text
    assert f'cull_max in {file}: "long"' in text


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("ftp://somewhere", "is not the address of a Docker engine"),
        ("ssh://somewhere", "ssh is not supported"),
        ("tcp://", "has no host"),
    ],
)
def test_an_engine_address_that_can_never_work(host: str, words: str, runtime_dir: Path) -> None:
    code, lines = failed("--port=0", "--admin-port=0", f"--runtime-dir={runtime_dir}", DOCKER_HOST=host)
    assert code == 3
    assert words in lines[0]


def test_a_runtime_directory_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, lines = failed(f"--runtime-dir={tmp_path / 'file'}")
    assert code == 2
    assert lines[0].startswith(f"error: runtime_dir {tmp_path / 'file'}")
    assert "--runtime-dir" in lines[1]


@pytest.mark.parametrize("kind", ["absent", "refuses", "silent", "no engine"])
async def test_an_engine_that_may_still_come(kind: str, pool: str) -> None:
    """It may be about to start: the service serves, says so everywhere, and goes on trying."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tmpnb-e2e-")))
        host = f"unix://{directory}/docker.sock"
        if kind == "refuses":
            dead = socket.socket(socket.AF_UNIX)
            dead.bind(f"{directory}/docker.sock")
            dead.close()
        elif kind == "silent":
            silent = stack.enter_context(socket.socket(socket.AF_UNIX))
            silent.bind(f"{directory}/docker.sock")
            silent.listen()
        elif kind == "no engine":
            host = f"tcp://127.0.0.1:{_http_server(stack)}"
        service = stack.enter_context(Offline(pool, docker_host=host).ended()).start("--pool-size=2", cleanup=False)
        down = await service.event("engine_down")
        assert down["error"]
        assert down["remedy"]
        async with service.http() as client:
            async with client.get("/readyz") as response:
                answer = await response.json()
                assert (response.status, answer["cause"]) == (503, "engine down")
            async with client.get("/healthz") as response:
                assert response.status == 200
            async with client.get("/user/abc/lab") as response:
                assert response.status == 503  # nobody knows yet whether it is gone
            async with client.post("/api/spawn") as response:
                assert (response.status, (await response.json())["cause"]) == (503, "engine down")
        assert len(service.found("engine_down")) == 1
        assert await asyncio.to_thread(service.stop) == 0


class Offline(Deployment):
    """A deployment without any engine: there is nobody to ask what is left."""

    def remains(self) -> list[str]:
        return []


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name is the base's
        pass


def _http_server(stack: contextlib.ExitStack) -> int:
    """The port of a web server that is no Docker engine."""
    server = stack.enter_context(http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stack.callback(server.shutdown)
    return int(server.server_address[1])


def test_no_permission_on_the_engines_socket(pool: str) -> None:
    with tempfile.TemporaryDirectory(prefix="tmpnb-e2e-") as directory, socket.socket(socket.AF_UNIX) as engine:
        engine.bind(f"{directory}/docker.sock")
        engine.listen()
        Path(f"{directory}/docker.sock").chmod(0)
        # Root may do everything unless this is taken from it.
        humble = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
        host = f"unix://{directory}/docker.sock"
        with Offline(pool, docker_host=host).ended() as deployment:
            service = deployment.start(cleanup=False, wrapper=humble)
            down = service.wait_for("engine_down")
            assert "may not use the Docker engine" in down["error"]
            assert down["remedy"] == "add this user to the group docker, or run as root"
            assert service.stop() == 0


# --- what visitors and operators send


async def test_wrong_tokens_and_unknown_ids() -> None:
    async with running(admin_auth_token="operators0secret") as rig:
        await rig.ready(1)
        spawned = await rig.spawn()
        for headers in (
            {},
            {"Authorization": "token no"},
            {"Authorization": "Bearer "},
            {"Authorization": "x" * 5000},
        ):
            async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=headers) as response:
                assert response.status == 401
                assert response.headers["WWW-Authenticate"] == "token"
                assert "Authorization: token" in (await response.json())["message"]
            async with rig.admin.get("/api/sessions", headers=headers) as response:
                assert response.status == 401
        for path, status in (
            ("/api/sessions/unknown", 404),
            ("/api/sessions/UPPER", 404),
            ("/user/unknown/lab", 410),
            ("/user/UPPER/lab", 404),
            ("/user/", 404),
            ("/user", 404),
            ("/nowhere", 404),
        ):
            async with rig.client.get(path) as response:
                assert response.status == status, path
                assert (await response.json())["message"]
            async with rig.client.get(path, headers={"Accept": "text/html"}) as response:
                assert response.status == status, path
                assert "</html>" in await response.text()
        async with rig.client.delete("/api/sessions/unknown", headers={"Authorization": "token x"}) as response:
            assert response.status == 404
        async with rig.client.put("/api/spawn") as response:
            assert response.status == 405
            assert "POST" in response.headers["Allow"]
        # Another container's token, and a ready container's id, open nothing.
        await rig.ready(1)
        other = await rig.spawn()
        token = {"Authorization": f"token {other['token']}"}
        async with rig.client.delete(f"/api/sessions/{spawned['id']}", headers=token) as response:
            assert response.status == 401
        await rig.ready(1)
        hidden = next(one for one in rig.pool if one.claimed_at is None).id
        for path in (f"/user/{hidden}/api", f"/user/{hidden}/"):
            async with rig.client.get(path) as response:
                assert response.status == 410
        async with rig.client.get(f"/api/sessions/{hidden}") as response:
            assert response.status == 404


async def test_a_head_that_is_too_large() -> None:
    async with running(max_head_size=8192) as rig:
        for headers in ({"X-Large": "x" * 9000}, {f"X-{number}": "x" * 90 for number in range(100)}):
            async with rig.client.get("/", headers={"Accept": "text/html", **headers}) as response:
                assert response.status == 431
        async with rig.client.get("/" + "x" * 9000) as response:
            assert response.status == 414
        async with rig.client.get("/", headers={"Cookie": "x" * 4000}) as response:
            assert response.status == 200


async def test_without_a_token_the_admin_listener_answers_this_machines_own_tools_only() -> None:
    async with running() as rig:
        async with rig.admin.get("/api/status") as response:
            assert response.status == 200
        for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            async with rig.admin.get("/api/status", headers=headers) as response:
                assert response.status == 403, headers
        async with rig.admin.get("/metrics", headers={"Host": "prometheus.example"}) as response:
            assert response.status == 200


async def test_what_goes_wrong_inside_is_noted_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a secret detail")

    async with running() as rig:
        monkeypatch.setattr("tmpnb_py.web.messages.busyness", broken)
        async with rig.client.get("/", headers={"Accept": "text/html"}) as response:
            assert response.status == 500
            page = await response.text()
        assert "Something went wrong here" in page
        assert "secret" not in page
        assert "Traceback" not in page


async def test_an_expect_that_nobody_knows_and_other_oddities_do_no_harm() -> None:
    async with running() as rig:
        await rig.ready(1)
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.service.port)
        writer.write(b"NONSENSE\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.1 400 ")
        writer.close()
        async with rig.client.get("/healthz") as response:
            assert response.status == 200
        with contextlib.suppress(aiohttp.ClientError):
            async with rig.client.request("CONNECT", "/x") as response:
                assert response.status == 501
