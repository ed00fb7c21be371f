"""Kernels that were started before anybody asked for them are those that a visitor would have had without."""

from __future__ import annotations

import asyncio
import difflib
import re
import subprocess
from pathlib import Path

import pytest

from tests.image.warm import Server, server

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

PROBES = Path(__file__).parent / "probes"
KERNELS = {"python3": "python3.py", "ir": "ir.R", "octave": "octave.m", "bash": "bash.sh", "gnuplot": "gnuplot.gp"}
FOLDER = "introduction-to-r"

# What is another one in each kernel, whether it was warm or not.
_OWN = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"[0-9a-f]{8}-[0-9a-f]{24}", "KEY"),
    (r"(PPID|PARENT_PID)\W+\d+\W*", "PARENT"),
    (r'SECONDS="[0-4]"', "SECONDS"),
    (r"0x[0-9a-f]+", "ADDRESS"),
    (r"PROMPT_[A-Z]+", "PROMPT"),
    (r"# Octave .*", "the session's beginning, in Octave's history"),
    (r"/tmp/[\w./-]+", "TEMPORARY"),
    (r"TMPNB_WARM_KERNELS\S* [^\n]*?\}\}?[\"']?,?|TMPNB_WARM_KERNELS=.*", ""),
)


def plain(text: str) -> list[str]:
    """Lines without what differs in each kernel."""
    for pattern, instead in _OWN:
        text = re.sub(pattern, instead, text)
    return text.replace("\r\n", "\n").splitlines()


async def probe(found: Server, kernel: str) -> list[str]:
    """What a first cell finds."""
    session = await found.new_session(kernel, f"{FOLDER}/{kernel}.ipynb")
    return plain(await found.notebook.run((PROBES / KERNELS[kernel]).read_text(), session["kernel"]["id"]))


async def test_they_are_as_fresh_ones(workshop_image: str) -> None:
    different = {}
    async with server(workshop_image, {name: [] for name in KERNELS}) as warm, server(workshop_image, {}) as cold:
        assert {one["state"] for one in await warm.states()} == {"ready"}, await warm.states()
        await asyncio.sleep(2)  # an age that can be seen
        for kernel in KERNELS:
            fresh, handed = await probe(cold, kernel), await probe(warm, kernel)
            assert len(fresh) > 3
            lines = difflib.unified_diff(fresh, handed, lineterm="", n=0)
            different[kernel] = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        assert {one["state"] for one in await warm.states()} == {"taken"}
    assert different == {kernel: [] for kernel in KERNELS}


WAITS = {
    "python3": "import time; time.sleep(60)",
    "ir": "Sys.sleep(60)",
    "octave": "pause (60)",
    "bash": "sleep 60",
}
WHERE = {
    "python3": "import os; print(os.getcwd(), os.environ.get('JPY_SESSION_NAME'), 'x' in globals())",
    "ir": "cat(getwd(), Sys.getenv('JPY_SESSION_NAME'), exists('x'))",
    "octave": "printf ('%s %s %d', pwd, getenv ('JPY_SESSION_NAME'), exist ('x'))",
    "bash": 'echo "$(pwd) $JPY_SESSION_NAME ${x-none}"',
}


@pytest.mark.long
async def test_they_are_interrupted_and_restarted_as_others(workshop_image: str) -> None:
    async with server(workshop_image, {name: [] for name in WHERE}) as found:
        for name, wait in WAITS.items():
            kernel_id = (await found.new_session(name, f"{FOLDER}/{name}.ipynb"))["kernel"]["id"]
            assert await found.state(name) == "taken"
            async with found.notebook.kernel(kernel_id) as kernel:
                before = await kernel.run(WHERE[name])
                assert before.startswith(f"/home/jovyan/work/{FOLDER} /home/jovyan/work/{FOLDER}/{name}.ipynb")
                asked = await kernel.send(wait)
                await kernel.until_busy(asked)
                await asyncio.sleep(0.5)
                await found.notebook.call("POST", f"api/kernels/{kernel_id}/interrupt", status=204)
                async with asyncio.timeout(20):
                    async for message in kernel.messages(asked):
                        if message["content"].get("execution_state") == "idle":
                            break
                await kernel.run({"octave": "x = 1;", "ir": "x <- 1"}.get(name, "x=1"))
                assert await kernel.run(WHERE[name]) != before  # it is still the same
            await found.notebook.call("POST", f"api/kernels/{kernel_id}/restart")
            assert await found.notebook.run(WHERE[name], kernel_id) == before


async def test_nobody_sees_one_before_it_is_taken(workshop_image: str) -> None:
    """Lists, counts and the evidence of activity; afterwards they see a kernel as any other."""
    async with server(workshop_image, {"python3": [], "ir": []}, unused_seconds=3) as found:
        call, quietly = found.notebook.call, "?no_track_activity=1"
        status = await call("GET", "api/status")
        assert (status["kernels"], status["connections"], status["last_activity"]) == (0, 0, status["started"])
        assert await call("GET", f"api/kernels{quietly}") == await call("GET", f"api/sessions{quietly}") == []
        assert await call("GET", "api/status") == status  # asking for the states was no activity
        session = await found.new_session("python3")
        listed = await call("GET", "api/kernels")
        assert [one["id"] for one in listed] == [session["kernel"]["id"]]
        assert listed[0]["execution_state"] == "idle"
        assert (await call("GET", "api/status"))["last_activity"] > status["last_activity"]
        assert [one["state"] for one in await found.states()] == ["taken", "ready"]
        # A second one is new, and the unused ends.
        other = await found.new_session("python3", "y.ipynb")
        assert other["kernel"]["id"] != session["kernel"]["id"]
        async with asyncio.timeout(20):
            while await found.state("ir") != "ended":
                await asyncio.sleep(0.2)
        assert found.shell("ps -e -o comm").split().count("R") == 0
        assert (
            await found.notebook.run("cat(6*7)", (await found.new_session("ir", "z.ipynb"))["kernel"]["id"]) == "42"
        )


@pytest.mark.long
async def test_what_it_cannot_become_is_a_new_one(workshop_image: str) -> None:
    """A file that a kernel reads when it starts, a module beside the notebook, an id of the client's, a death."""
    wanted = "11111111-2222-4333-8444-555555555555"
    async with server(workshop_image, {"python3": ["tqdm"], "ir": [], "octave": [], "bash": []}) as found:
        found.shell("cd ~/work && echo 'ours <- 42' > .Rprofile && mkdir m && echo 'ours = 42' > m/tqdm.py")
        r = await found.new_session("ir", "x.ipynb")
        assert await found.notebook.run("cat(ours)", r["kernel"]["id"]) == "42"
        assert await found.state("ir") == "ready"
        python = await found.new_session("python3", "m/x.ipynb")
        assert await found.notebook.run("import tqdm; print(tqdm.ours)", python["kernel"]["id"]) == "42\n"
        given = await found.notebook.call("POST", "api/kernels", {"name": "octave", "kernel_id": wanted}, status=201)
        assert given["id"] == wanted
        assert await found.state("octave") == "ready"
        found.shell("echo 'ours = 42;' > ~/.octaverc")
        octave = await found.new_session("octave", "o.ipynb")
        assert "42" in await found.notebook.run("disp (ours)", octave["kernel"]["id"])
        assert await found.state("octave") == "ready"
        found.shell(
            "for pid in $(pgrep -f [k]ernels/bash/start.py); do kill -KILL $pid; "
            "while [ -e /proc/$pid ] && ! grep -q '^State:.Z' /proc/$pid/status; do sleep 0.1; done; done"
        )
        bash = await found.new_session("bash", "b.ipynb")
        assert await found.notebook.run("echo $((6*7))", bash["kernel"]["id"]) == "42\n"
        assert await found.state("bash") == "ended"
        assert len(await found.notebook.call("GET", "api/kernels")) == 5


@pytest.mark.long
@pytest.mark.parametrize("dies", [False, True])
async def test_one_that_hangs_or_dies_when_it_is_asked_for_is_replaced(workshop_image: str, *, dies: bool) -> None:
    async with server(workshop_image, {"python3": []}) as found:
        found.shell("pkill -STOP -f [i]pykernel_launcher")
        opening = asyncio.create_task(found.new_session("python3", f"{FOLDER}/x.ipynb"))
        if dies:
            while await found.state("python3") != "taken":
                await asyncio.sleep(0.05)
            found.shell("pkill -KILL -f [i]pykernel_launcher")
        session = await opening
        place = f"/home/jovyan/work/{FOLDER}"
        assert await found.notebook.run("import os; print(os.getcwd())", session["kernel"]["id"]) == f"{place}\n"
        assert found.shell("ps -e -o args").count("ipykernel_launcher") == 1
        # Nobody waits for an answer of a process that is no more.
        logs = ["docker", "logs", found.container]
        told = await asyncio.to_thread(subprocess.run, logs, capture_output=True, text=True, check=True)
        assert ("it died before it had changed its folder" if dies else "after 10 s") in told.stderr


async def test_one_is_handed_over_once_however_many_ask(workshop_image: str) -> None:
    """Six at the same moment: one of them gets it, all others a new kernel."""
    room = ("--memory", "1g", "--memory-swap", "1g")
    async with server(workshop_image, {"python3": []}, options=room) as found:
        (pid,) = found.shell("pgrep -f [i]pykernel_launcher").split()
        ask = found.notebook.call
        asked = (ask("POST", "api/kernels", {"name": "python3", "path": "x.ipynb"}, status=201) for _ in range(6))
        ids = [one["id"] for one in await asyncio.gather(*asked)]
        assert len(set(ids)) == 6
        processes = await asyncio.gather(*(found.notebook.run("import os; print(os.getpid())", one) for one in ids))
        assert len(set(processes)) == 6
        assert processes.count(f"{pid}\n") == 1
        # Two sessions for one document share its kernel, as ever.
        first, second = [await found.new_session("python3", "y.ipynb") for _ in range(2)]
        assert first["kernel"]["id"] == second["kernel"]["id"]


LOADED = """
local({
  told <- list(unique(search()), ls(globalenv(), all.names = TRUE), exists(".Random.seed", globalenv()))
  cat(deparse(told), length(intersect(c("dplyr", "ggplot2"), loadedNamespaces())))
})
"""


@pytest.mark.long
async def test_packages_are_loaded_and_not_attached(workshop_image: str) -> None:
    packages = {"ir": ["tidyverse", "forecast"], "python3": ["pandas", "matplotlib.pyplot"]}
    async with server(workshop_image, packages) as found, server(workshop_image, None) as fresh:
        assert [one["state"] for one in await found.states()] == ["ready", "ready"], await found.states()
        cells: dict[str, list[str]] = {}
        for one in (found, fresh):
            kernel_id = (await one.new_session("ir"))["kernel"]["id"]
            async with one.notebook.kernel(kernel_id) as kernel:
                code = (LOADED, "library(tidyverse)", "library(forecast)", LOADED)
                cells[one.container] = [await kernel.run(cell) for cell in code]
        warm, cold = cells[found.container], cells[fresh.container]
        assert (warm[0].rpartition(" ")[2], cold[0].rpartition(" ")[2]) == ("2", "0")
        assert warm[0].rpartition(" ")[0] == cold[0].rpartition(" ")[0]
        assert warm[1:] == cold[1:]  # messages of packages, too
        assert "Registered S3 method overwritten by 'quantmod'" in cold[2]
        there = "import sys; print('pandas' in sys.modules, 'pandas' in globals(), 'plt' in globals())"
        plots = (
            "import matplotlib.pyplot as plt; print(plt.get_backend(), plt.isinteractive(), dict(plt.rcParams))",
            "print(plt.get_backend(), plt.isinteractive(), dict(plt.rcParams), get_ipython().events.callbacks)",
        )
        drawn = []
        for one in (found, fresh):
            kernel_id = (await one.new_session("python3", "p.ipynb"))["kernel"]["id"]
            async with one.notebook.kernel(kernel_id) as kernel:
                assert await kernel.run(there) == f"{one is found} False False\n"
                drawn.append(plain("".join([await kernel.run(code) for code in plots])))
                assert await kernel.run("plt.plot([1, 2]); len(plt.get_fignums())") == "1"
                assert await kernel.run("len(plt.get_fignums())") == "0"  # it was shown below its cell
        assert drawn[0] == drawn[1]


@pytest.mark.long
async def test_a_package_that_does_not_load_leaves_a_plain_kernel(workshop_image: str) -> None:
    packages = {"ir": ["gone"], "python3": ["gone.too"], "octave": ["statistics"], "bash": [], "julia-1.11": []}
    async with server(workshop_image, packages) as found:
        states = {one["name"]: one for one in await found.states()}
        assert {name: one["state"] for name, one in states.items()} == {
            "ir": "failed", "python3": "failed", "octave": "failed", "bash": "ready", "julia-1.11": "failed",
        }  # fmt: skip
        assert "there is no package called" in states["ir"]["problem"]
        assert "gone.too: ModuleNotFoundError" in states["python3"]["problem"]
        assert states["octave"]["problem"] == "statistics: octave attaches a package when it loads it"
        assert "julia-1.11" in states["julia-1.11"]["problem"]
        for name, code in (("ir", "cat(6*7)"), ("python3", "print(6*7)"), ("octave", "disp (6*7)")):
            kernel_id = (await found.new_session(name, f"{name}.ipynb"))["kernel"]["id"]
            assert (await found.notebook.run(code, kernel_id)).strip() == "42"
            assert await found.state(name) == "taken"  # the plain one


@pytest.mark.long
async def test_a_question_of_the_very_first_cell_comes_to_its_client(workshop_image: str) -> None:
    """No message is lost although Jupyter Server does not nudge."""
    for kernel, code in (("python3", "input('how?')"), ("ir", "readline('how?')")) * 3:
        async with server(workshop_image, {kernel: []}) as found:
            kernel_id = (await found.new_session(kernel))["kernel"]["id"]
            async with found.notebook.kernel(kernel_id) as channels, asyncio.timeout(30):
                kinds: list[str] = []
                async for message in channels.messages(await channels.send(code, allow_stdin=True)):
                    kinds.append(message["msg_type"])
                    if {"execute_input", "input_request"} <= set(kinds):  # of two channels, which arrive as they do
                        break
            assert sorted(kinds) == ["execute_input", "input_request", "status"]


async def test_without_any_there_is_nothing(workshop_image: str) -> None:
    async with server(workshop_image, None) as found:
        await found.notebook.call("GET", "api/tmpnb/warm", status=404)
