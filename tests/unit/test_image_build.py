"""Building the image: the context, the certificates, the choice of the base, and what is left behind."""

from __future__ import annotations

import asyncio
import dataclasses
import errno
import io
import os
import ssl
import stat
import sys
import tarfile
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import IO

import pytest

from tmpnb_py.core.errors import EngineDownError, ImageBuildError, ImageMissingError
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.engines.base import ImageStore
from tmpnb_py.engines.docker.engine import DockerEngine
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.images import build as image
from tmpnb_py.images.build import BuildResult, BuildStep

HOME_MADE = "tmpnb-py-base:bookworm"


@dataclasses.dataclass
class FakeImageEngine(NoImageStore):
    """Has `images`, can pull `pullable`, and remembers what it was asked to build and import."""

    images: set[str] = dataclasses.field(default_factory=set)
    pullable: set[str] = dataclasses.field(default_factory=set)
    builder_lines: tuple[str, ...] = ("Step 1/2 : FROM x", " ---> 0123", "Step 2/2 : RUN y", "done")
    build_error: ImageBuildError | None = None
    hang: asyncio.Event | None = None
    built: dict[str, object] = dataclasses.field(default_factory=dict)
    context: dict[str, tarfile.TarInfo] = dataclasses.field(default_factory=dict)
    imported: dict[str, bytes] = dataclasses.field(default_factory=dict)
    pulls: list[str] = dataclasses.field(default_factory=list)
    buildkit: bool = False
    buildkit_lines: list[str] | None = None  # what it says before it fails
    builders: list[bool] = dataclasses.field(default_factory=list)

    async def has_buildkit(self) -> bool:
        return self.buildkit

    async def image_exists(self, name: str) -> bool:
        return name in self.images

    async def pull_image(self, name: str) -> AsyncGenerator[str, None]:
        self.pulls.append(name)
        yield "Pulling"
        if name not in self.pullable:
            raise ImageMissingError(f"cannot pull {name}: no such host")
        self.images.add(name)

    async def import_image(self, stream: AsyncIterator[bytes], repository: str, tag: str) -> None:
        data = b"".join([chunk async for chunk in stream])
        self.imported[f"{repository}:{tag}"] = data

    async def build_image(
        self,
        context: IO[bytes],
        *,
        tag: str,
        build_args: Mapping[str, str],
        target: str | None,
        network: str | None,
        labels: Mapping[str, str],
        buildkit: bool = False,
    ) -> AsyncGenerator[str, None]:
        self.built = {"tag": tag, "args": dict(build_args), "target": target, "network": network}
        self.context = entries(context)
        self.builders.append(buildkit)
        if buildkit and self.buildkit_lines is not None:
            for line in self.buildkit_lines:
                yield line
            raise ImageBuildError("no BuildKit today")
        for line in self.builder_lines:
            yield line
        if self.hang:
            self.hang.set()
            await asyncio.Event().wait()
        if self.build_error:
            raise self.build_error


def entries(file: IO[bytes]) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=file) as tar:
        return {entry.name: entry for entry in tar.getmembers()}


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory for temporary files; a test asks whether it is empty in the end."""
    directory = tmp_path / "scratch"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    return directory


@pytest.fixture(scope="session")
def pem() -> str:
    """Two certificates of real authorities, from this machine's own bundle."""
    paths = ssl.get_default_verify_paths()
    text = Path(paths.cafile or paths.openssl_cafile).read_text(errors="replace")
    blocks = image._CERTIFICATE.findall(text)
    assert len(blocks) >= 2
    return "\n".join(blocks[:2]) + "\n"


async def build(
    engine: ImageStore,
    *,
    steps: list[BuildStep] | None = None,
    environ: Mapping[str, str] | None = None,
    base: str | None = None,
    ca_bundle: Path | None = None,
) -> BuildResult:
    report = (lambda _: None) if steps is None else steps.append
    return await image.build(engine, tag="t:1", report=report, environ=environ or {}, base=base, ca_bundle=ca_bundle)


def install_mmdebstrap(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A program of that name which runs `script` instead."""
    program = directory / "mmdebstrap"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


def as_image_engine(engine: DockerEngine) -> ImageStore:
    """For the type checker: the real engine is what is asked for here."""
    return engine


async def test_a_full_disk_is_no_surprise(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(image, "write_context", full)
    with pytest.raises(ImageBuildError, match="No space left") as caught:
        await build(FakeImageEngine(images={image.DEFAULT_BASE}))
    assert str(scratch) in caught.value.remedy


class TestContext:
    def test_holds_the_files_with_plain_owners_and_modes(self) -> None:
        file = io.BytesIO()
        image.write_context(file, workshop_directory(), "")
        found = entries(file)
        assert {"Dockerfile", "requirements.txt", "start-notebook.sh", "workshops/workshops.toml"} <= set(found)
        assert stat.S_IMODE(found["start-notebook.sh"].mode) == 0o755
        assert stat.S_IMODE(found["Dockerfile"].mode) == 0o644
        assert {(entry.uid, entry.gid, entry.uname) for entry in found.values()} == {(0, 0, "")}
        assert not any(name.startswith("certs/extra") for name in found)

    def test_leaves_out_caches_and_hidden_files(self, tmp_path: Path) -> None:
        for name in ("Dockerfile", ".git/config", "a/__pycache__/b.pyc", "w/.ipynb_checkpoints/x.ipynb"):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        file = io.BytesIO()
        image.write_context(file, tmp_path, "")
        assert set(entries(file)) == {"Dockerfile"}

    async def test_certificates_exist_in_the_archive_only(self, scratch: Path, tmp_path: Path, pem: str) -> None:
        bundle = tmp_path / "ca.pem"
        bundle.write_text(f"# An authority — with a comment\n{pem}")
        engine = FakeImageEngine({image.DEFAULT_BASE})
        await build(engine, ca_bundle=bundle)
        assert engine.context["certs/extra.crt"].size == len(pem)
        assert not (workshop_directory() / "certs" / "extra.crt").exists()
        assert list(scratch.iterdir()) == []

    def test_the_lock_file_names_no_index_and_no_path(self) -> None:
        lock = (workshop_directory() / "requirements.txt").read_text()
        assert "--hash=sha256:" in lock
        assert not any(word in lock for word in ("://", "file:", "--index", "--find-links", "/opt/"))


class TestCertificates:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"", "contains no PEM certificate"),
            (b"\x30\x82\x01\x00\xff", "contains no PEM certificate"),
            (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "invalid certificate"),
            (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "private key"),
        ],
    )
    def test_what_is_no_bundle_is_refused(self, tmp_path: Path, content: bytes, words: str) -> None:
        path = tmp_path / "ca.pem"
        path.write_bytes(content)
        with pytest.raises(ImageBuildError, match=words) as caught:
            image.read_ca_bundle(path)
        assert "--ca-bundle" in caught.value.remedy

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ImageBuildError, match="no-such-file"):
            image.read_ca_bundle(tmp_path / "no-such-file")

    @pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"])
    async def test_the_environment_is_the_default_and_said(self, tmp_path: Path, pem: str, variable: str) -> None:
        bundle = tmp_path / "company.pem"
        bundle.write_text(pem)
        engine, steps = FakeImageEngine({image.DEFAULT_BASE}), list[BuildStep]()
        await build(engine, steps=steps, environ={variable: str(bundle)})
        assert "certs/extra.crt" in engine.context
        assert variable in steps[0].text
        assert str(bundle) in steps[0].text

    async def test_a_variable_that_names_no_file_is_passed_over(self, tmp_path: Path) -> None:
        engine = FakeImageEngine({image.DEFAULT_BASE})
        await build(engine, environ={"SSL_CERT_FILE": str(tmp_path), "PIP_CERT": "/no/such", "X": ""})
        assert "certs/extra.crt" not in engine.context

    async def test_a_refused_certificate_in_the_build_has_a_remedy(self) -> None:
        error = ImageBuildError("pip: SSLError(CERTIFICATE_VERIFY_FAILED)")
        with pytest.raises(ImageBuildError) as caught:
            await build(FakeImageEngine({image.DEFAULT_BASE}, build_error=error))
        assert "--ca-bundle" in caught.value.remedy


class TestBuild:
    async def test_reports_the_builders_steps(self) -> None:
        engine, steps = FakeImageEngine({image.DEFAULT_BASE}), list[BuildStep]()
        result = await build(engine, steps=steps)
        assert [(s.text, s.index, s.total) for s in steps if s.total] == [("FROM x", 1, 2), ("RUN y", 2, 2)]
        assert (result.tag, result.base) == ("t:1", image.DEFAULT_BASE)
        assert engine.built["target"] == "full"
        assert engine.built["network"] == "host"

    def test_forwards_proxies_and_a_mirror_that_the_build_can_reach(self) -> None:
        environ = {"https_proxy": "http://p:1", "NO_PROXY": "x", "PIP_INDEX_URL": "https://m/simple", "A": "b"}
        assert image.forwarded_build_args(environ) == {
            "https_proxy": "http://p:1",
            "NO_PROXY": "x",
            "PIP_INDEX_URL": "https://m/simple",
        }
        assert image.forwarded_build_args({"PIP_INDEX_URL": "file:///opt/simple", "HTTP_PROXY": ""}) == {}

    async def test_cancellation_leaves_no_files(self, scratch: Path) -> None:
        engine = FakeImageEngine({image.DEFAULT_BASE}, hang=asyncio.Event())
        assert engine.hang
        task = asyncio.create_task(build(engine))
        await engine.hang.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert list(scratch.iterdir()) == []


class TestBase:
    async def test_one_that_the_engine_has_is_used(self) -> None:
        engine = FakeImageEngine({"mine:1"})
        assert (await build(engine, base="mine:1")).base == "mine:1"
        assert engine.pulls == []
        assert engine.built["args"] == {"BASE": "mine:1"}

    async def test_a_missing_one_is_pulled(self) -> None:
        engine = FakeImageEngine(pullable={image.DEFAULT_BASE})
        assert (await build(engine)).base == image.DEFAULT_BASE

    async def test_one_made_earlier_is_used_again(self) -> None:
        engine = FakeImageEngine({HOME_MADE})
        assert (await build(engine)).base == HOME_MADE
        assert engine.pulls == []

    async def test_a_foreign_one_is_not_made_here(self) -> None:
        with pytest.raises(ImageBuildError, match=r"mine:1 .* cannot be pulled") as caught:
            await build(FakeImageEngine(), base="mine:1")
        assert "--base" in caught.value.remedy

    async def test_without_mmdebstrap_the_remedy_names_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PATH", "/no/such/directory")
        with pytest.raises(ImageBuildError, match="not installed") as caught:
            await build(FakeImageEngine())
        assert "apt-get install mmdebstrap" in caught.value.remedy
        assert "--base" in caught.value.remedy

    async def test_an_engine_that_is_down_says_so(self) -> None:
        class Down(FakeImageEngine):
            async def pull_image(self, name: str) -> AsyncGenerator[str, None]:
                yield "Pulling"
                raise EngineDownError("gone")

        with pytest.raises(EngineDownError):
            await build(Down())

    async def test_it_is_made_and_imported_under_a_name_of_its_own(
        self, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install_mmdebstrap(tmp_path, monkeypatch, 'touch "$TMPDIR/half"; echo "an archive of $*"')
        engine = FakeImageEngine()
        assert (await build(engine)).base == HOME_MADE
        assert engine.imported[HOME_MADE].startswith(b"an archive of --variant=minbase")
        assert list(scratch.iterdir()) == []

    async def test_its_failure_shows_its_last_words_and_imports_nothing(
        self, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        install_mmdebstrap(tmp_path, monkeypatch, "echo half; echo 'E: no mirror' >&2; exit 25")
        engine = FakeImageEngine()
        with pytest.raises(ImageBuildError, match=r"status 25:\nE: no mirror"):
            await build(engine)
        assert engine.imported == {}
        assert list(scratch.iterdir()) == []

    async def test_cancellation_ends_it_with_its_children(
        self, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pids = tmp_path / "pids"
        os.mkfifo(pids)
        install_mmdebstrap(tmp_path, monkeypatch, f'sleep 600 & echo "$$ $!" > {pids}; wait')
        task = asyncio.create_task(build(FakeImageEngine()))
        program, child = map(int, (await asyncio.to_thread(pids.read_text)).split())
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not is_running(program)
        async with asyncio.timeout(60):
            while is_running(child):  # it was killed with its group; whoever inherited it has yet to reap it
                await asyncio.sleep(0.01)
        assert list(scratch.iterdir()) == []

    async def test_one_that_ignores_the_request_is_killed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(image, "_TERMINATE_SECONDS", 0.05)
        ready = tmp_path / "ready"
        os.mkfifo(ready)
        ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        ignoring += f"open('{ready}', 'w').close(); signal.pause()"
        install_mmdebstrap(tmp_path, monkeypatch, f'exec {sys.executable} -c "{ignoring}"')
        task = asyncio.create_task(build(FakeImageEngine()))
        await asyncio.to_thread(ready.read_text)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(task, 60)


def is_running(pid: int) -> bool:
    """Whether the process runs (one that ended and was not collected by init yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


# ---- the builder


async def test_it_is_built_with_buildkit_where_that_is_there() -> None:
    for there in (True, False):
        engine = FakeImageEngine(images={"debian:bookworm-slim"}, buildkit=there)
        await build(engine)
        assert engine.builders == [there]


async def test_buildkit_that_does_not_begin_leaves_it_to_the_classic_builder() -> None:
    engine = FakeImageEngine(images={"debian:bookworm-slim"}, buildkit=True, buildkit_lines=[])
    steps: list[BuildStep] = []
    await build(engine, steps=steps)
    assert engine.builders == [True, False]
    assert "no BuildKit today" in " ".join(step.text for step in steps)
    assert "Dockerfile" in engine.context


async def test_a_step_that_fails_is_not_tried_with_another_builder() -> None:
    engine = FakeImageEngine(
        images={"debian:bookworm-slim"}, buildkit=True, buildkit_lines=["Step 1/2 : [a 1/2] RUN x"]
    )
    with pytest.raises(ImageBuildError, match="no BuildKit today"):
        await build(engine)
    assert engine.builders == [True]
