"""The commands below `image`, with an engine in memory and what they print."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_image_transfer import IMAGE
from tests.unit.test_workshop_folders import START, notebook
from tmpnb_py.cli import main as cli
from tmpnb_py.cli.commands import image, image_check, image_workshops
from tmpnb_py.cli.progress import TransferProgress
from tmpnb_py.core.errors import ImageMissingError
from tmpnb_py.core.models import ImageFacts, Mount, Transport
from tmpnb_py.core.warm import WarmKernel
from tmpnb_py.images import check as checking
from tmpnb_py.images.results import Advice, CheckReport, KernelTrial, NotebookTrial, ServerTrial, WarmTrial
from tmpnb_py.images.transfer import Progress
from tmpnb_py.options.groups.notebooks import DEFAULT_IMAGE
from tmpnb_py.options.settings import Settings
from tmpnb_py.workshops.manifest import EXAMPLE
from tmpnb_py.workshops.preview import Preview

PLACE = "/usr/share/workshops/workshops.toml"


class Engine:
    """Has one image with one workshop."""

    def __init__(self) -> None:
        self.facts = ImageFacts(DEFAULT_IMAGE, "sha256:abc", workshops=PLACE)
        self.loaded: list[bytes] = []
        self.built: list[str] = []
        self.pool_removed = False

    async def image(self, name: str) -> ImageFacts:
        if name == "missing":
            raise ImageMissingError("the engine has no image missing", remedy="build it")
        return self.facts

    async def read_image(self, facts: ImageFacts, paths: list[str], *, limit: int = 0) -> dict[str, bytes]:
        return {PLACE: EXAMPLE.encode()}

    async def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        self.loaded.append(b"".join([chunk async for chunk in stream]))
        yield "Loaded image: x:1"

    async def save_image(self, name: str) -> AsyncGenerator[bytes, None]:
        yield IMAGE

    async def tag_image(self, name: str, tag: str) -> None:
        pass

    async def build_image(self, context: Any, **options: Any) -> AsyncGenerator[str, None]:
        self.built.append(options["tag"])
        yield "Step 1/2 : FROM x"

    async def remove_pool(self) -> None:
        self.pool_removed = True


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Engine:
    engine = Engine()

    @contextlib.asynccontextmanager
    async def opened(settings: Settings, *, pool: str | None = None) -> AsyncIterator[Engine]:
        yield engine

    for module in (image, image_check, image_workshops):
        monkeypatch.setattr(module, "docker_engine", opened)
    monkeypatch.setattr(image, "_downloads", lambda: tmp_path / "downloads")
    return engine


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        cli.main(["image", *map(str, arguments)])
    return int(ended.value.code or 0)


def test_load_takes_the_sum_from_the_file_beside(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(IMAGE)
    (tmp_path / "x.tar.sha256").write_text(f"{hashlib.sha256(IMAGE).hexdigest()}  x.tar\n")
    assert run("load", path) == 0
    assert engine.loaded == [IMAGE]
    shown = capsys.readouterr()
    assert shown.out == f"loaded {DEFAULT_IMAGE} (sha256:abc)\n"
    assert shown.err.splitlines() == ["checking 5 MiB", "loading 5 MiB"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ([], "there is no checksum for"),
        (["--sha256", "0" * 64], "nothing was loaded"),
        (["--md5", "xyz"], "is not a md5 sum"),
        (["--md5", hashlib.md5(IMAGE).hexdigest().upper()], ""),
        (["--sha256", "missing"], "is not a sha256 sum"),
    ],
)
def test_load_needs_the_right_sum(
    engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], told: str
) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(IMAGE)
    assert run("load", path, *options) == (4 if told else 0)
    assert told in capsys.readouterr().err
    assert bool(engine.loaded) is not bool(told)


def test_save(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("save", "-o", tmp_path / "x.tar") == 0
    assert (tmp_path / "x.tar.workshops.toml").exists()
    assert hashlib.sha256(IMAGE).hexdigest() in capsys.readouterr().out


def test_workshops_are_listed(engine: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("workshops") == 0
    assert "introduction-to-r" in capsys.readouterr().out
    assert run("workshops", "--image", "missing") == 4


def test_workshops_are_added(engine: Engine, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "workshops.toml").write_text(EXAMPLE)
    assert run("workshops", "--add", tmp_path) == 4
    assert "does not exist" in capsys.readouterr().err
    assert engine.built == []
    (tmp_path / START).parent.mkdir()
    solved = {"cell_type": "code", "metadata": {"tags": ["exercise"]}, "outputs": [1]}
    (tmp_path / START).write_text(notebook(cells=[solved]))
    assert run("workshops", "--add", tmp_path, "--tag", "mine:1") == 0
    shown = capsys.readouterr()
    assert engine.built == ["mine:1"]
    assert shown.out.startswith("built mine:1: tmpnb-py-workshops:latest with the workshops of ")
    assert shown.err.startswith(
        "warning: introduction-to-r/Introduction to R.ipynb: has outputs in exercises (cell 1)"
    )
    assert "replaced: introduction-to-r\n" in shown.out
    assert "tmpnb-py serve --image mine:1\n" in shown.out
    assert "  Introduction to R: http://localhost:8000/workshops/introduction-to-r/\n" in shown.out
    assert run("workshops", "--only") == 2
    assert run("workshops", "--add", tmp_path, "--preview", tmp_path) == 2


def test_a_preview_shows_the_folder_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    served: list[Settings] = []

    async def serve(settings: Settings, *, preview: Preview) -> None:
        served.append(settings)
        assert [one.slug for one in preview.manifest.workshops] == ["introduction-to-r"]

    monkeypatch.setattr("tmpnb_py.service.serve.serve", serve)
    (tmp_path / "workshops.toml").write_text(EXAMPLE)
    (tmp_path / START).parent.mkdir()
    (tmp_path / START).write_text(notebook())
    assert run("workshops", "--preview", tmp_path, "--port", "8123") == 0
    (settings,) = served
    assert (settings.pool_size, settings.pool_name, settings.cleanup_on_exit) == (1, "tmpnb-preview", True)
    assert settings.host_directories == (Mount(str(tmp_path), image_workshops.PREVIEW_PLACE, read_only=True),)
    assert settings.ip == "127.0.0.1"
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert first == "All workshops: http://localhost:8123/"
    assert second == "  Introduction to R: http://localhost:8123/workshops/introduction-to-r/"
    assert (tmp_path / "workshops.toml").read_text() == EXAMPLE


KERNEL = KernelTrial(
    "ir", "R", start_seconds=1.2, cell_seconds=0.3, cpu_seconds=0.9, memory=155 << 20, drew=True, runs=True
)


@pytest.mark.parametrize("works", [True, False])
def test_check(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], works: bool
) -> None:
    notebooks = (NotebookTrial("a.ipynb", 3, 1, 2.0, () if works else ("cell 3: \x1b[31mno",)),)
    trial = ServerTrial(Transport.SOCKET, 0.6, 0.45, 48 << 20, kernels=(KERNEL,), notebooks=notebooks, classic=True)
    advice = () if works else (Advice("a.ipynb: cell 3: no", "correct the notebook", serious=True),)

    async def check(*_: Any, **options: Any) -> CheckReport:
        options["say"]("starting it")
        warm = (WarmTrial(WarmKernel("ir", ("tidyverse",)), 1.9, 160 << 20),)
        return CheckReport(engine.facts, 1300 << 20, 6, (trial,), advice, warm)

    monkeypatch.setattr(checking, "check", check)
    assert run("check") == (0 if works else 4)
    shown = capsys.readouterr().out
    assert "by socket: answers after 0.60 s, 0.45 CPU-s, 48 MiB, /tree works" in shown
    assert "- R: start 1.20 s, cell 0.30 s, 0.90 CPU-s, 155 MiB: plot" in shown
    assert "started ahead: ir (tidyverse): ready after 1.90 s, 160 MiB" in shown
    assert "\x1b" not in shown
    assert ("FAIL  a.ipynb" in shown) is not works
    assert engine.pool_removed
    assert run("check", "--json") == (0 if works else 4)
    assert f'"works": {str(works).lower()}' in capsys.readouterr().out


def test_a_transfer_of_unknown_size() -> None:
    with TransferProgress() as progress:
        progress.report(Progress("saving", 1))
