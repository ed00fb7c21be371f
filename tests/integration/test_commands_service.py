"""The commands that talk to a running service, as their user meets them."""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from tests.e2e.inprocess import Rig, running
from tests.integration.command_support import PROGRAM, SECONDS, at, environment, run, run_on_terminal
from tests.pool_support import fail, records_of
from tmpnb_py.core.errors import FailureClass, UpgradeError
from tmpnb_py.core.models import EndReason, Failure, NodeState, State
from tmpnb_py.engines.fake import FakeHost
from tmpnb_py.pools.container import Container
from tmpnb_py.web.api.schema import AdminSessions, AdminStatus

TOKEN = "operators0secret"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    async with running(pool_size=2, max_containers=6) as rig:
        await rig.ready(2)
        yield rig


async def test_status_in_a_pipe_is_plain_text(rig: Rig) -> None:
    spawned = await rig.spawn()
    await rig.ready(2)
    done = await run("status", *at(rig))
    assert (done.code, done.err) == (0, "")
    assert "\x1b" not in done.out
    assert all(line == line.rstrip() for line in done.out.splitlines())
    rows = dict(line.split(maxsplit=1) for line in done.out.splitlines() if line.startswith(("ready", "image")))
    assert rows == {"ready": "2 of 2", "image": "fake"}
    assert f"{spawned['id']}  " in done.out
    assert "not opened" in done.out


async def test_status_on_a_terminal_has_colours_unless_asked_not_to(rig: Rig) -> None:
    shown = await run_on_terminal("status", *at(rig))
    assert shown.code == 0
    assert "\x1b[1m" in shown.out
    assert "─" in shown.out
    plain = await run_on_terminal("status", *at(rig), env={"NO_COLOR": "1"})
    assert "\x1b[3" not in plain.out
    assert "2 of 2" in plain.out


async def test_status_as_json_is_the_admin_listeners_answer(rig: Rig) -> None:
    await rig.spawn()
    done = await run("status", "--json", *at(rig))
    status = AdminStatus.model_validate_json(done.out)
    assert (status.name, status.pool.claimed, status.pool.closed, status.engine_up) == ("tmpnb", 1, False, True)
    assert len(status.starts) >= 2
    assert all(one.seconds >= 0 for one in status.starts)


async def test_status_shows_the_last_failure_with_its_log_and_keeps_the_earlier_ones(rig: Rig) -> None:
    pool, now = rig.pool, time.monotonic()
    fail(pool, Failure(FailureClass.IMAGE_MISSING, "the engine has no image x", now - 90))
    fail(pool, Failure(FailureClass.EXITS_AT_ONCE, "it exited", now - 60, ("first line", "[bold]no markup[/bold]")))
    done = await run("status", *at(rig))
    words = re.search(r"last failure, 1m\d*s? ago: exits at once: it exited\n((?:  \| .*\n)*)", done.out)
    assert words is not None
    assert words[1] == "  | first line\n  | [bold]no markup[/bold]\n"
    status = AdminStatus.model_validate_json((await run("status", "--json", *at(rig))).out)
    assert [one.cause for one in status.failures] == ["exits at once", "image missing"]


async def test_watching_shows_it_again_and_ends_with_ctrl_c(rig: Rig) -> None:
    shown = await run_on_terminal("status", "--watch", *at(rig), stop_after="2 of 2")
    assert shown.code == 130
    assert "Traceback" not in shown.out


async def test_watching_in_a_pipe_is_one_json_object_per_line(rig: Rig) -> None:
    process = await asyncio.create_subprocess_exec(
        PROGRAM,
        "status",
        "--watch",
        "--json",
        *at(rig),
        stdout=asyncio.subprocess.PIPE,
        env=environment(),
        limit=10**6,
    )
    assert process.stdout is not None
    async with asyncio.timeout(SECONDS):
        lines = [await process.stdout.readline() for _ in range(2)]
        process.send_signal(2)
        assert await process.wait() == 130
    assert [json.loads(line)["pool"]["ready"] for line in lines] == [2, 2]


async def test_sessions_are_listed_and_ended(rig: Rig) -> None:
    assert (await run("sessions", *at(rig))).out == "no session is running\n"
    first, second = await rig.spawn(), await rig.spawn("?wait=5")
    listed = await run("sessions", *at(rig))
    assert [line.split()[0] for line in listed.out.splitlines()] == ["session", first["id"], second["id"]]
    found = AdminSessions.model_validate_json((await run("sessions", "--json", *at(rig))).out)
    assert [one.id for one in found.sessions] == [first["id"], second["id"]]

    done = await run("end", first["id"], *at(rig))
    assert (done.code, done.out) == (0, f"ended {first['id']}\n")
    assert rig.pool.count(State.CLAIMED) == 1
    again = await run("end", first["id"], *at(rig))
    assert again.code == 7
    assert again.err == "error: the service refused: There is no such session, or it has ended.\n"


async def test_an_id_that_cannot_be_one_is_refused_at_once(rig: Rig) -> None:
    done = await run("end", "../pool", *at(rig))
    assert done.code == 2
    assert "is not a session's id: tmpnb-py sessions lists them." in done.err


async def test_the_pool_is_resized_closed_opened_and_drained(rig: Rig) -> None:
    done = await run("resize", "3", *at(rig))
    assert (done.code, done.out.split(":")[0]) == (0, "open")
    assert " of 3 ready" in done.out
    await rig.ready(3)
    closed = "closed, but for classes that are booked: 3 of 3 ready"
    assert (await run("close", *at(rig))).out.startswith(closed)
    assert (await run("close", "--classes", *at(rig))).out.startswith("closed, classes as well: ")
    assert not rig.pool.admits_classes
    async with rig.client.post("/api/spawn") as response:
        assert response.status == 503
    shown = await run("status", *at(rig))
    assert "turned away, classes as well (tmpnb-py open lets them in)" in shown.out
    assert (await run("open", *at(rig))).out.startswith("open: ")
    assert (await run("drain", *at(rig))).out == "3 ready notebooks replaced\n"
    too_large = await run("resize", "7", *at(rig))
    assert (too_large.code, too_large.err) == (
        7,
        "error: the service refused: 7 is above max_containers, which is 6.\n",
    )
    below = await run("resize", "-1", *at(rig))
    assert below.code == 2
    assert "-1 is not in the range" in below.err
    assert "No such option '--sise'" in (await run("resize", "--sise=3", *at(rig))).err
    assert (await run("resize", "many", *at(rig))).code == 2


async def test_the_token_is_found_as_serve_finds_it(tmp_path: Path) -> None:
    async with running(admin_auth_token=TOKEN) as rig:
        missing = await run("status", *at(rig))
        assert missing.code == 7
        assert missing.err.splitlines()[0].endswith("demands a token")
        assert "ADMIN_AUTH_TOKEN" in missing.err
        wrong = await run("status", *at(rig), env={"ADMIN_AUTH_TOKEN": "wrong"})
        assert wrong.err.splitlines()[0].endswith("does not accept this token")
        assert "wrong" not in wrong.err.replace("wrong,", "")
        for name in ("ADMIN_AUTH_TOKEN", "TMPNB_ADMIN_AUTH_TOKEN"):
            assert (await run("status", *at(rig), env={name: TOKEN})).code == 0
        config = tmp_path / "t.toml"
        config.write_text(f'admin_port = {rig.service.admin_port}\nadmin_auth_token = "{TOKEN}"\npool_size = 3\n')
        assert (await run("status", "--config", str(config))).code == 0
        assert (await run("status", env={"TMPNB_CONFIG": str(config)})).code == 0
        config.write_text("admin_port = 0\n")
        unknown = await run("status", "--config", str(config))
        assert (unknown.code, "Pass that port with --admin-port" in unknown.err) == (2, True)


async def test_a_token_of_the_whole_alphabet_passes() -> None:
    token = "".join(chr(code) for code in range(33, 127))
    async with running(admin_auth_token=token) as rig:
        assert (await run("status", *at(rig), env={"ADMIN_AUTH_TOKEN": token})).code == 0


async def test_no_service() -> None:
    done = await run("status", "--admin-port", "1")
    assert done.code == 7
    assert done.out == ""
    assert done.err == (
        "error: no service answers at http://127.0.0.1:1/ (nothing listens there)\n"
        "  → Start it with tmpnb-py serve, or tell its address with --admin-ip, --admin-port or --config.\n"
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (web.Response(text="hello"), "is not a tmpnb-py of this version"),
        (web.Response(text="<p>no</p>", status=404), "the service refused: status 404"),
        (web.Response(status=302, headers={"Location": "/x"}), "the service refused: status 302"),
    ],
)
async def test_somebody_else_answers(answer: web.Response, message: str) -> None:
    async def handler(_: web.BaseRequest) -> web.Response:
        return web.Response(body=answer.body, status=answer.status, headers={"Location": "/x"})

    runner = web.ServerRunner(web.Server(handler))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        done = await run("status", "--admin-port", str(runner.addresses[0][1]))
    finally:
        await runner.cleanup()
    assert done.code == 7
    assert message in done.err
    assert "Traceback" not in done.err


async def test_a_reader_who_has_enough_ends_it_quietly(rig: Rig) -> None:
    process = await asyncio.create_subprocess_shell(
        f"{PROGRAM} config --template | head -n 1", stdout=-1, stderr=-1, env=environment()
    )
    out, err = await process.communicate()
    assert (out.decode().startswith("# tmpnb-py's options"), err) == (True, b"")


@pytest.mark.parametrize(
    ("shell", "names"),
    [("bash", "_TMPNB_PY_COMPLETE"), ("zsh", "#compdef tmpnb-py"), ("fish", "complete --no-files")],
)
async def test_shell_completion_scripts(shell: str, names: str) -> None:
    done = await run(env={"_TMPNB_PY_COMPLETE": f"{shell}_source"})
    assert done.code == 0
    assert names in done.out


async def _complete(words: str, count: int) -> set[str]:
    env = {"_TMPNB_PY_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(count)}
    return {line.split(",")[1] for line in (await run(env=env)).out.splitlines()}


async def test_completion_offers_commands_options_and_values() -> None:
    assert {"status", "serve", "doctor", "purge"} <= await _complete("tmpnb-py ", 1)
    assert {"--admin-port", "--config", "--watch"} <= await _complete("tmpnb-py status --", 2)
    assert await _complete("tmpnb-py serve --log-level ", 3) == {"debug", "info", "warning", "error"}
    assert await _complete("tmpnb-py serve --use-tokens f", 3) == {"false"}


async def test_status_of_five_hundred_sessions_is_quick(rig: Rig) -> None:
    pool, now = rig.pool, time.monotonic()
    for number in range(500):
        container = Container(f"session{number:05}", "digest", "t", now - 100, state=State.CLAIMED)
        container.claimed_at = container.last_activity = now - 100
        container.changed_at = math.inf  # newer than any listing, which tells of none of them
        records_of(pool).insert(container)
    began = time.monotonic()
    done = await run("status", *at(rig))
    took = time.monotonic() - began
    for number in range(500):
        ended = pool.get(f"session{number:05}")
        assert ended is not None
        records_of(pool).forget(ended, now)
    assert done.out.count("session0") == 500
    print(f"status on 500 sessions: {took:.2f} s")


# --- nodes


@pytest.fixture
async def cluster() -> AsyncIterator[Rig]:
    async with FakeHost() as host:
        host.nodes = {"one": NodeState.ACTIVE, "two": NodeState.ACTIVE}
        async with running(host, pool_size=2, max_containers=6) as rig:
            await rig.ready(2)
            yield rig


async def test_status_shows_nodes(cluster: Rig) -> None:
    await cluster.spawn()
    await cluster.ready(2)
    done = await run("status", *at(cluster))
    rows = [line.split() for line in done.out.splitlines() if line.startswith(("node ", "one ", "two "))]
    words = ["node", "state", "relay", "image", "isolation", "in", "use", "ready", "starting", "memory", "reserved"]
    assert rows[0] == words
    assert rows[1][:8] == ["one", "active", "connected", "there", "verified", "1", "2", "0"]
    assert rows[2][:8] == ["two", "active", "connected", "there", "verified", "0", "0", "0"]
    status = AdminStatus.model_validate_json((await run("status", "--json", *at(cluster))).out)
    assert [(one.name, one.claimed, one.ready) for one in status.nodes] == [("one", 1, 2), ("two", 0, 0)]
    assert status.nodes[0].reserved_bytes > 0


async def test_draining_a_node_waits_for_its_last_session(cluster: Rig) -> None:
    spawned = await cluster.spawn()
    await cluster.ready(2)
    ready = {one.id for one in cluster.pool.in_state(State.READY)}
    draining = asyncio.create_task(run("drain", "--node", "one", *at(cluster)))
    await cluster.until(lambda: cluster.host.nodes["one"] is NodeState.PAUSED)
    await cluster.until(lambda: {one.id for one in cluster.pool.in_state(State.READY)}.isdisjoint(ready))
    await cluster.ready(2)
    assert all(cluster.host.containers["tmpnb", one.id].node == "two" for one in cluster.pool.in_state(State.READY))
    session = cluster.pool.session(spawned["id"])
    assert session is not None
    assert not draining.done()
    cluster.pool.end(session, EndReason.IDLE, time.monotonic())
    done = await draining
    assert (done.code, done.err) == (0, "")
    assert "one is paused: 1 session left" in done.out
    assert done.out.splitlines()[-1].startswith("one is empty: its last session has ended. tmpnb-py drain --node one")

    undone = await run("drain", "--node", "one", "--undo", *at(cluster))
    assert (undone.code, undone.out) == (0, "one takes notebooks again\n")
    assert cluster.host.nodes["one"] is NodeState.ACTIVE


async def test_ctrl_c_leaves_a_node_paused_and_says_how_to_go_on(cluster: Rig) -> None:
    await cluster.spawn()
    shown = await run_on_terminal("drain", "--node", "one", *at(cluster), stop_after="1 session left")
    assert shown.code == 130
    assert "one stays paused. tmpnb-py drain --node one goes on waiting" in shown.out
    assert "--undo has it take notebooks again" in shown.out
    assert "Traceback" not in shown.out
    assert cluster.host.nodes["one"] is NodeState.PAUSED


async def test_somebody_else_activates_a_node_meanwhile(cluster: Rig) -> None:
    await cluster.spawn()
    draining = asyncio.create_task(run("drain", "--node", "one", *at(cluster)))
    await cluster.until(lambda: cluster.host.nodes["one"] is NodeState.PAUSED)
    cluster.host.nodes["one"] = NodeState.ACTIVE
    done = await draining
    assert done.code == 7
    assert "one takes notebooks again" in done.err


async def test_the_last_node_that_takes_notebooks(cluster: Rig) -> None:
    cluster.host.nodes["two"] = NodeState.PAUSED
    done = await run("drain", "--node", "one", *at(cluster))
    assert done.code == 0
    assert "no other node takes notebooks" in done.err


async def test_nodes_that_there_are_not(cluster: Rig, rig: Rig) -> None:
    done = await run("drain", "--node", "three", *at(cluster))
    assert done.code == 7
    assert "the swarm has no node three: its nodes are one, two" in done.err
    for arguments in (("--node", "../pool"), ("--undo",)):
        assert (await run("drain", *arguments, *at(cluster))).code == 2
    alone = await run("drain", "--node", "one", *at(rig))
    assert alone.code == 7
    assert "one machine" in alone.err
    assert "node  " not in (await run("status", *at(rig))).out


async def test_a_service_that_cannot_start_itself_anew_says_so(rig: Rig) -> None:
    done = await run("upgrade", *at(rig))
    assert (done.code, done.out) == (7, "")
    assert done.err == "error: the service refused: This service cannot start itself anew.\n"


async def test_an_upgrade_is_asked_for_and_its_failure_told(rig: Rig) -> None:
    outcomes: list[int | UpgradeError] = [4711, UpgradeError("the new process did not take over: status 2")]

    async def upgrade() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, UpgradeError):
            raise outcome
        return outcome

    rig.service.upgrade_by(upgrade)
    done = await run("upgrade", *at(rig))
    assert (done.code, done.out) == (0, "process 4711 serves now\n")
    done = await run("upgrade", *at(rig))
    assert done.code == 7
    assert "the new process did not take over: status 2. This process goes on as before" in done.err
