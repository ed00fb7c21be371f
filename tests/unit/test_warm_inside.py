"""What a notebook's server is told of warm kernels, and what it takes for a change (`workshop_image/server`)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests import image_modules
from tmpnb_py.core import warm

line = image_modules.load("tmpnb_warm_line")
languages = image_modules.load("tmpnb_warm_languages")
kernel = image_modules.load("tmpnb_warm_kernel")
kernels = image_modules.load("tmpnb_warm_kernels")
extension = image_modules.load("tmpnb_warm")


def test_it_is_told_as_the_service_tells_it() -> None:
    assert extension.VARIABLE == warm.VARIABLE
    wanted = extension.read(warm.told([warm.WarmKernel("ir", ("tidyverse",)), warm.WarmKernel("python3")]))
    assert wanted.packages == {"ir": ("tidyverse",), "python3": ()}
    assert wanted.unused_seconds == 60
    assert extension.read('{"kernels": {}, "unused_seconds": 2.5}') == kernels.Wanted({}, 2.5)


@pytest.mark.parametrize(
    "told",
    [
        "", "{", "[]", "{}", '{"kernels": []}', '{"kernels": {"ir": "tidyverse"}}', '{"kernels": {"ir": [1]}}',
        '{"kernels": {"ir": [""]}}', '{"kernels": {}, "unused_seconds": "60"}',
        '{"kernels": {}, "unused_seconds": -1}', '{"kernels": {}, "unused_seconds": true}',
        '{"kernels": {}, "unused_seconds": NaN}',
    ],
)  # fmt: skip
def test_anything_else_is_an_error(told: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        extension.read(told)


def test_states_are_those_that_the_service_knows() -> None:
    told = kernels.Warm("ir", ("x",), problem="no x", state=kernels.State.FAILED, seconds=1.23456).told()
    assert json.loads(json.dumps(told)) == {"name": "ir", "state": "failed", "problem": "no x", "seconds": 1.235}


def spec(language: str, *argv: str, **metadata: object) -> Any:
    return SimpleNamespace(language=language, argv=list(argv), metadata=metadata)


def test_how_a_kernel_is_prepared_is_told_by_its_description() -> None:
    python = spec("python", "/opt/jupyter/bin/python", "-m", "ipykernel_launcher", "-f", "{connection_file}")
    assert isinstance(languages.language_of(python), languages.Python)
    assert isinstance(languages.language_of(spec("R", "R", "--slave")), languages.R)
    assert isinstance(languages.language_of(spec("octave", "python", "start.py", tmpnb_warm=True)), languages.Placed)
    assert languages.language_of(spec("octave", "python", "-m", "octave_kernel")) is None
    assert languages.language_of(spec("julia", "julia")) is None


def test_changed_startup_files_are_seen(tmp_path: Path) -> None:
    python = languages.Python()
    before = python.startup_files(tmp_path)
    startup = tmp_path / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "README").write_text("made by IPython itself")
    assert python.startup_files(tmp_path) == before == {}
    (startup / "00-mine.py").write_text("x = 1")
    after = python.startup_files(tmp_path)
    assert set(after) == {str(startup / "00-mine.py")}
    os.utime(startup / "00-mine.py", ns=(0, 0))
    assert python.startup_files(tmp_path) != after


def test_folders_in_which_a_kernel_reads_something(tmp_path: Path) -> None:
    assert languages.R().is_plain(str(tmp_path))
    (tmp_path / ".Rprofile").symlink_to("nowhere")
    assert not languages.R().is_plain(str(tmp_path))
    assert languages.Python().is_plain(str(tmp_path))
    assert languages.Placed("bash").is_plain(str(tmp_path))


class Shell:
    """IPython's, as far as being placed needs it."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, str]]] = []
        self.kernel = SimpleNamespace(shell_handlers={}, session=SimpleNamespace(send=self.send))
        self.history_manager = SimpleNamespace(dir_hist=[])
        self.starting_dir = ""
        self.user_ns: dict[str, str] = {}
        self.user_ns_hidden: dict[str, str] = {}

    def send(self, _stream: object, kind: str, content: dict[str, str], *_: object) -> None:
        self.sent.append((kind, content))


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """A Python kernel that has loaded `colorsys`, and has been told of our request."""
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    own: dict[str, Any] = {"given": ("colorsys",)}
    exec(languages._PYTHON_PLACE + languages._PYTHON_LOAD, own)
    assert own["problem"] == ""
    return shell


def place(shell: Shell, folder: Path, session: str | None) -> dict[str, str]:
    handler = shell.kernel.shell_handlers["tmpnb_place_request"]
    handler(None, [], {"content": {"folder": str(folder), "session": session}})
    kind, content = shell.sent.pop()
    assert kind == "tmpnb_place_reply"
    return content


def test_a_python_kernel_is_placed_once(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JPY_SESSION_NAME", "that of the test")  # so that it is put back
    (tmp_path / "sub").mkdir()
    assert place(shell, tmp_path / "sub", "sub/x.ipynb")["status"] == "ok"
    assert shell.kernel.shell_handlers == {}
    assert Path.cwd() == Path(shell.starting_dir) == shell.history_manager.dir_hist[0] == tmp_path / "sub"
    assert os.environ["JPY_SESSION_NAME"] == shell.user_ns["__session__"] == "sub/x.ipynb"


@pytest.mark.parametrize("problem", ["beside", "nowhere"])
def test_a_python_kernel_that_cannot_be_placed_says_why(shell: Shell, tmp_path: Path, problem: str) -> None:
    (tmp_path / "colorsys.py").touch()
    answer = place(shell, tmp_path if problem == "beside" else tmp_path / "sub", None)
    assert answer["status"] == "error"
    assert ("there is a colorsys" if problem == "beside" else "FileNotFoundError") in answer["evalue"]
    assert Path.cwd() == tmp_path
    assert shell.starting_dir == ""
