"""What is otherwise in a cell than in a terminal: no keyboard, no screen, an end, and errors that are errors."""

from __future__ import annotations

import dataclasses
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]

SCRIPT = (Path(__file__).parent / "cells.py").read_text()
NO_NETWORK = "This notebook has no network"
INSTALL = """
dir.create("mine")
told <- c(Package = "mine", Version = "1.0", Title = "t", Author = "a", Maintainer = "a <a@b.c>", License = "MIT")
write.dcf(t(c(told, Description = "d.")), "mine/DESCRIPTION")
file.create("mine/NAMESPACE")
install.packages("mine", repos = NULL)
cat(system.file(package = "mine"))
"""


@dataclasses.dataclass(frozen=True)
class Cell:
    """One to run. `stop` are seconds until *Stop* is pressed, 0 for never; `answer` is as in `cells.py`."""

    code: str
    stop: float = 0.0
    answer: str | None = None


@dataclasses.dataclass(frozen=True)
class Ran:
    """What came of it."""

    status: str
    outputs: list[list[str]]
    seconds: float

    def of(self, kind: str) -> str:
        return "".join(text for one, text in self.outputs if one == kind)


def run(hardened: list[str], kernel: str, cells: Sequence[Cell | str]) -> list[Ran]:
    """Run the cells in one kernel of the image, in a notebook without a network."""
    asked = [one if isinstance(one, Cell) else Cell(one) for one in cells]
    wanted = {"kernel": kernel, "cells": [[one.code, one.stop, one.answer] for one in asked]}
    *arguments, image = hardened
    command = [*arguments, "--cpus", "2", "--interactive", "--env", "TMPNB_EGRESS=none", image]
    command += ["sh", "-c", 'PATH=/opt/jupyter/share/no-network:$PATH exec python -c "$0"', SCRIPT]
    done = subprocess.run(
        ["docker", *command], input=json.dumps(wanted), capture_output=True, text=True, check=False, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [Ran(*one) for one in json.loads(done.stdout.splitlines()[-1])]


def test_bash(hardened: list[str]) -> None:
    (
        found_nothing, unknown, unclosed, kept, asks, python, less, many, slow, nano, commit, man, stubborn, screen,
        still, ended, new, git,
    ) = run(
        hardened,
        "bash",
        [
            "x=5; grep nothing /etc/passwd",
            "lss",
            'echo before\necho "unclosed',
            "for i in 1 2; do\n\techo $i$x\ndone; echo 'wow!'",
            "read answer; echo \"got '$answer'\"",
            "python3",
            "less /etc/passwd",
            "seq 20000",
            "echo one; echo two; sleep 1; echo three",
            "nano x",
            "cd ~; git init -q r; cd r; git -c user.name=a -c user.email=a@b commit --allow-empty",
            "man ls | head -n 20",
            Cell("sh -c 'trap : INT; while :; do sleep 1; done'", stop=1),
            Cell("command less /etc/passwd", stop=1),
            "echo $x still; history | head -n 1",
            "exit 3",
            "echo \"x is '$x'\"",
            "git clone https://x.example/r; curl -s https://x.example",
        ],
    )  # fmt: skip
    # What a command says with its status is no error: "Run all" goes on.
    assert (found_nothing.status, found_nothing.outputs) == ("ok", [["display", "exit status 1"]])
    assert (unknown.status, unknown.of("display")) == ("ok", "exit status 127")
    assert "lss: command not found" in unknown.of("stdout")
    # What the shell cannot read is one, and is no wait for more.
    assert unclosed.status == "error"
    assert "line 2: unexpected EOF" in unclosed.of("stdout")
    assert "the shell cannot read this cell" in unclosed.of("error")
    assert kept.of("stdout") == "15\n25\nwow!\n"
    # Nobody is at a keyboard.
    assert (asks.status, asks.of("stdout")) == ("ok", "got ''\n")
    assert (python.status, python.outputs) == ("ok", [])
    assert "root:x:0:0" in less.of("stdout")
    assert less.status == "ok"
    # Jupyter keeps some thousand messages: lines that come together are shown together; none waits for the next.
    assert (many.status, many.of("stdout").split()) == ("ok", list(map(str, range(1, 20001))))
    assert len(many.outputs) < 500
    assert (slow.of("stdout"), slow.outputs[-1]) == ("one\ntwo\nthree\n", ["stdout", "three\n"])
    assert "An editor cannot run in a cell" in nano.of("stdout")
    assert "An editor cannot run in a cell" in commit.of("stdout")
    assert (commit.status, commit.of("display")) == ("ok", "exit status 1")
    assert "list directory contents" in man.of("stdout")
    # Stop ends what does not heed Ctrl-C, and nothing else.
    for stopped in (stubborn, screen):
        assert stopped.status == "abort"
        assert stopped.seconds < 30
    assert still.of("stdout").startswith("5 still\n")
    assert "x=5; grep nothing" in still.of("stdout")
    # A shell that ends is an error, and says so.
    assert ended.status == "error"
    assert "The shell has ended" in ended.of("error")
    assert (new.status, new.of("stdout")) == ("ok", "x is ''\n")
    assert git.of("stdout").count(NO_NETWORK) == 2


def test_octave(hardened: list[str]) -> None:
    (
        shown, failed, unreadable, looks_like_one, defines, caught, asked, pause, unasked, unanswered, endless, still,
        ended, new, reaches,
    ) = run(
        hardened,
        "octave",
        [
            "x = 3\ny = x + 1;\ny",
            "a = 1\nmissing(2)\nb = 2",
            "[1, 2",
            "for i = 1:3\n  printf('error: %d\\n', i);\nend",
            "function r = f (v)\n  r = 2 * v;\nend\nf (4)",
            "try, error ('q'); catch e, disp (e.message); end",
            Cell("v = input ('Value? ')", answer="42"),
            "pause",
            "w = input ('Value? ')",
            Cell("pause", stop=1, answer=""),
            Cell("while true, end", stop=1),
            "x",
            "exit (3)",
            "1 + 1",
            "urlread ('https://x.example')",
        ],
    )  # fmt: skip
    assert (shown.status, shown.of("stdout")) == ("ok", "x = 3\ny = 4\n")
    # A cell ends at its first error, which is one.
    assert failed.status == "error"
    assert (failed.of("stdout"), "b = 2" in str(failed.outputs)) == ("a = 1\n", False)
    assert failed.of("error").startswith("error: 'missing' undefined")
    assert unreadable.status == "error"
    assert "parse error" in unreadable.of("error")
    assert (looks_like_one.status, looks_like_one.of("stdout")) == ("ok", "error: 1\nerror: 2\nerror: 3\n")
    assert (defines.status, defines.of("stdout")) == ("ok", "ans = 8\n")
    assert (caught.status, caught.of("stdout")) == ("ok", "q\n")
    assert "v = 42" in asked.of("stdout")
    # Where nobody can be asked this is said, and the next cell is not taken for the answer.
    for one in (pause, unasked):
        assert one.status == "error"
        assert "nobody can be asked here" in one.of("stderr")
    for one in (unanswered, endless):
        assert one.status == "abort"
    assert max(one.seconds for one in (pause, unasked, unanswered, endless)) < 30
    assert (still.status, still.of("stdout")) == ("ok", "x = 3\n")
    assert ended.status == "error"
    assert "Octave has ended" in ended.of("error")
    assert (new.status, new.of("stdout")) == ("ok", "ans = 2\n")
    assert NO_NETWORK in reaches.of("error")


def test_gnuplot(hardened: list[str]) -> None:
    shown, failed, plot, no_data, magic, still = run(
        hardened,
        "gnuplot",
        ["print 3", "print missing", "plot sin(x)", "plot 'missing.csv'", "%gnuplot inline svg", "print 6"],
    )
    assert (shown.status, shown.outputs) == ("ok", [["display", "3"]])
    assert (failed.status, failed.outputs) == ("error", [["error", "undefined variable: missing"]])
    assert plot.status == "ok"
    assert "Image" in plot.of("display")
    assert no_data.status == "error"
    assert (magic.status, still.status) == ("ok", "ok")


def test_python_and_r_say_that_there_is_no_network(hardened: list[str]) -> None:
    magic, shell, module, local, reads = run(
        hardened,
        "python3",
        [
            "%pip install gone",
            "!pip install gone; git ls-remote https://x.example/r",
            "!python -m pip install gone",
            "%pip install --no-deps numpy",
            "import pandas; pandas.read_csv('https://x.example/a.csv')",
        ],
    )
    for one in (magic, shell, module):
        assert f"{NO_NETWORK}, so that packages from elsewhere cannot be" in one.of("stdout")
        assert "It has no gone." in one.of("stdout")
        assert "No matching distribution" not in one.of("stdout")
    assert f"{NO_NETWORK}: nothing" in shell.of("stdout")
    assert "already satisfied" in local.of("stdout")
    assert (reads.status, NO_NETWORK in reads.of("stderr")) == ("error", True)
    *known, local, own = run(
        hardened,
        "ir",
        [
            "install.packages('gone')",
            "utils::update.packages(ask = FALSE)",
            "download.file('https://x.example/a', 'a')",
            "read.csv('https://x.example/a.csv')",
            "readr::read_csv('https://x.example/a.csv')",
            "readLines(url('http://x.example/a'))",
            "x <- 'a,b\\n1,2'; writeLines(x, 'a.csv'); cat(read.csv('a.csv')$b, nrow(read.csv(text = x)))",
            INSTALL,
        ],
    )
    for one in known:
        assert one.status == "error"
        assert NO_NETWORK in one.of("error"), one
    assert local.of("stdout") == "2 1"
    # What there is can be installed, into a library of the visitor's own.
    assert own.status == "ok", own
    assert own.of("stdout").endswith("/home/jovyan/R/x86_64-pc-linux-gnu-library/4.2/mine")
