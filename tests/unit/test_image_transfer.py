"""Loading and saving images as files: nothing is loaded unless its sum is right, whatever a server does."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from tmpnb_py.core.errors import EngineError, ImageMissingError, ImageTransferError
from tmpnb_py.core.models import ImageFacts
from tmpnb_py.engines.no_images import NoImageStore
from tmpnb_py.images import transfer
from tmpnb_py.images.transfer import Progress, Sums


def archive(*names: str, size: int = 3_000_000) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.size = size
            tar.addfile(entry, io.BytesIO(hashlib.sha256(name.encode()).digest() * (size // 32 + 1)))
    return file.getvalue()


IMAGE = archive("manifest.json", "layer.tar")
SUMS = Sums(hashlib.sha256(IMAGE).hexdigest(), hashlib.md5(IMAGE).hexdigest())
FACTS = ImageFacts("inside:1", "sha256:abc")


@dataclasses.dataclass
class Engine(NoImageStore):
    """Remembers what it was made to load and to tag."""

    loaded: list[bytes] = dataclasses.field(default_factory=list)
    tags: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    answer: str = "Loaded image: inside:1"
    saved: bytes = IMAGE
    error: EngineError | None = None

    async def image(self, image: str) -> ImageFacts:
        if image not in ("inside:1", "wanted:1", "sha256:abc"):
            raise ImageMissingError("no such image")
        return dataclasses.replace(FACTS, image=image)

    async def load_image(self, stream: AsyncIterator[bytes]) -> AsyncGenerator[str, None]:
        self.loaded.append(b"".join([chunk async for chunk in stream]))
        yield self.answer

    async def save_image(self, image: str) -> AsyncGenerator[bytes, None]:
        half = len(self.saved) // 2
        yield self.saved[:half]
        if self.error:
            raise self.error
        yield self.saved[half:]

    async def tag_image(self, image: str, tag: str) -> None:
        self.tags.append((image, tag))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "image.tar"
    path.write_bytes(IMAGE)
    return path


async def load(
    engine: Engine, source: object, sums: Sums, directory: Path, tag: str | None = "wanted:1"
) -> ImageFacts:
    return await transfer.load(engine, str(source), sums, tag=tag, directory=directory / "downloads")


@pytest.mark.parametrize("sums", [SUMS, Sums(sha256=SUMS.sha256), Sums(md5=SUMS.md5)])
async def test_a_file_is_checked_loaded_and_tagged(file: Path, tmp_path: Path, sums: Sums) -> None:
    engine = Engine()
    facts = await load(engine, file, sums, tmp_path)
    assert facts.image == "wanted:1"
    assert engine.loaded == [IMAGE]
    assert engine.tags == [("sha256:abc", "wanted:1")]
    assert file.exists()


async def test_a_compressed_file(tmp_path: Path) -> None:
    path = tmp_path / "image.tar.gz"
    path.write_bytes(gzip.compress(IMAGE))
    engine = Engine(answer="Loaded image ID: sha256:abc")
    sums = await transfer.sums_of(path)
    assert (await load(engine, path, sums, tmp_path, tag=None)).image == "sha256:abc"
    assert engine.tags == []


@pytest.mark.parametrize("sums", [Sums(sha256="0" * 64), Sums(md5="0" * 32), Sums(SUMS.sha256, "0" * 32)])
async def test_a_wrong_sum_loads_nothing(file: Path, tmp_path: Path, sums: Sums) -> None:
    engine = Engine()
    with pytest.raises(ImageTransferError, match="nothing was loaded"):
        await load(engine, file, sums, tmp_path)
    assert engine.loaded == []


@pytest.mark.parametrize("sum_", ["", "x" * 64, "A" * 64, "0" * 63])
def test_what_is_not_a_sum(sum_: str) -> None:
    if sum_:
        with pytest.raises(ImageTransferError, match="is not a sha256 sum"):
            Sums(sha256=sum_)
    else:
        assert Sums() == Sums("", "")


@pytest.mark.parametrize(
    ("content", "told"), [(b"hello", "is not a tar archive"), (archive("x"), "contains no image")]
)
async def test_what_is_not_an_image(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "x.tar"
    path.write_bytes(content)
    engine = Engine()
    with pytest.raises(ImageTransferError, match=told):
        await load(engine, path, await transfer.sums_of(path), tmp_path)
    assert engine.loaded == []


async def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageTransferError, match="cannot read"):
        await load(Engine(), tmp_path / "missing.tar", SUMS, tmp_path)


async def test_an_engine_that_does_not_say_what_it_loaded(file: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="did not report"):
        await load(Engine(answer="hm"), file, SUMS, tmp_path)


# ---- from a server


class Server:
    """Serves `content` as a web server does, and misbehaves as told."""

    def __init__(self) -> None:
        self.content = IMAGE
        self.etag = '"one"'
        self.break_after: list[int] = []  # bytes, for one request after another
        self.requests: list[str] = []
        self.answer: Callable[[web.Request], web.StreamResponse] | None = None
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.headers.get("Range", ""))
        if self.answer is not None:
            return self.answer(request)
        begin, status = 0, 200
        asked = request.headers.get("Range", "")
        if asked and request.headers.get("If-Range") == self.etag:
            begin, status = int(asked.removeprefix("bytes=").rstrip("-")), 206
        part = self.content[begin:]
        response = web.StreamResponse(status=status, headers={"ETag": self.etag, "Content-Length": str(len(part))})
        if status == 206:
            response.headers["Content-Range"] = f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}"
        await response.prepare(request)
        if self.break_after:
            await response.write(part[: self.break_after.pop(0)])
            assert request.transport is not None
            request.transport.close()
            return response
        with contextlib.suppress(ConnectionError):
            await response.write(part)
        return response


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Server]:
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.01)
    server = Server()
    application = web.Application()
    application.router.add_get("/image.tar", server.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    server.url = f"http://user:secret@{host}:{port}/image.tar?signature=secret"
    yield server
    await runner.cleanup()


async def test_a_download_is_loaded_and_removed(server: Server, tmp_path: Path) -> None:
    engine = Engine()
    await load(engine, server.url, SUMS, tmp_path)
    assert engine.loaded == [IMAGE]
    assert [path.suffix for path in (tmp_path / "downloads").iterdir()] == [".json"]


async def test_a_broken_download_goes_on_where_it_stopped(server: Server, tmp_path: Path) -> None:
    server.break_after = [1_000_000, 500_000]
    engine = Engine()
    told: list[Progress] = []
    await transfer.load(engine, server.url, SUMS, tag=None, directory=tmp_path, report=told.append)
    assert engine.loaded == [IMAGE]
    begins = [int(one.removeprefix("bytes=").rstrip("-")) for one in server.requests[1:]]
    assert len(begins) == 2
    assert 0 < begins[0] < begins[1] <= 1_500_000
    assert any("trying again" in one.doing for one in told)


async def test_the_next_call_goes_on_too(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_ATTEMPTS", 1)
    server.break_after = [1_000_000]
    with pytest.raises(ImageTransferError) as caught:
        await load(Engine(), server.url, SUMS, tmp_path)
    assert "resumes after" in caught.value.remedy
    engine = Engine()
    await load(engine, server.url, SUMS, tmp_path)
    assert engine.loaded == [IMAGE]
    assert server.requests[1] != ""


async def test_a_file_that_changed_meanwhile_is_begun_anew(server: Server, tmp_path: Path) -> None:
    server.break_after = [1_000_000]
    old, new = server.content, archive("manifest.json", "other")
    monkey = Engine()

    def swap(progress: Progress) -> None:
        if "trying again" in progress.doing:
            server.content, server.etag = new, '"two"'

    sums = Sums(sha256=hashlib.sha256(new).hexdigest())
    await transfer.load(monkey, server.url, sums, tag=None, directory=tmp_path, report=swap)
    assert monkey.loaded == [new]
    assert old != new


async def test_a_forged_download_is_thrown_away(server: Server, tmp_path: Path) -> None:
    server.content = archive("manifest.json", "evil")
    engine = Engine()
    with pytest.raises(ImageTransferError, match="nothing was loaded"):
        await load(engine, server.url, SUMS, tmp_path)
    assert engine.loaded == []
    server.content = IMAGE
    await load(engine, server.url, SUMS, tmp_path)
    assert engine.loaded == [IMAGE]


@pytest.mark.parametrize(
    ("status", "headers", "told"),
    [
        (404, {}, "answered with status 404"),
        (500, {}, "answered with status 500"),
        (206, {"Content-Range": "bytes 7-9/10"}, "different range"),
        (206, {}, "different range"),
        (302, {"Location": "file:///etc/passwd"}, "cannot download"),
        (302, {"Location": "/image.tar"}, "cannot download"),
    ],
)
async def test_answers_that_are_no_file(
    server: Server, tmp_path: Path, status: int, headers: dict[str, str], told: str
) -> None:
    server.answer = lambda _: web.Response(status=status, headers=headers)
    engine = Engine()
    with pytest.raises(ImageTransferError, match=told) as caught:
        await load(engine, server.url, SUMS, tmp_path)
    assert "secret" not in f"{caught.value.message}{caught.value.remedy}"
    assert engine.loaded == []


async def test_a_file_without_end_is_cut_off(server: Server, tmp_path: Path) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        with contextlib.suppress(ConnectionError):
            while True:
                await response.write(bytes(100_000))
        return response

    server.handle = endless  # type: ignore[method-assign]
    application = web.Application()
    application.router.add_get("/x", endless)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/x"
    try:
        async with asyncio.timeout(20):
            with pytest.raises(ImageTransferError, match="sends more than it announced"):
                await transfer.download(url, SUMS, tmp_path, limit=1_000_000)
    finally:
        await runner.cleanup()


async def test_a_file_too_large_is_refused_before_it_comes(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ImageTransferError, match="is larger than"):
        await transfer.download(server.url, SUMS, tmp_path, limit=1000)


async def test_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "_FIRST_PAUSE", 0.0)
    with pytest.raises(ImageTransferError, match="was interrupted"):
        await transfer.download("http://127.0.0.1:1/x", SUMS, tmp_path)


# ---- saving


@pytest.mark.parametrize("name", ["image.tar", "image.tar.gz"])
async def test_what_is_saved_can_be_loaded(tmp_path: Path, name: str) -> None:
    engine = Engine()
    path = tmp_path / name
    saved = await transfer.save(engine, "inside:1", path, manifest=b"# none\n")
    assert saved.sums == await transfer.sums_of(path)
    assert sorted(one.name.removeprefix(name) for one in tmp_path.iterdir()) == [
        "", ".json", ".md5", ".sha256", ".workshops.toml",
    ]  # fmt: skip
    assert (tmp_path / f"{name}.sha256").read_text() == f"{saved.sums.sha256}  {name}\n"
    about = json.loads((tmp_path / f"{name}.json").read_text())
    assert (about["image"], about["sha256"]) == ("inside:1", saved.sums.sha256)
    assert (await load(engine, path, saved.sums, tmp_path)).image == "wanted:1"
    content = gzip.decompress(engine.loaded[0]) if name.endswith(".gz") else engine.loaded[0]
    assert content == IMAGE


async def test_a_save_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "image.tar").write_text("an older one")
    with pytest.raises(EngineError):
        await transfer.save(Engine(error=EngineError("gone")), "inside:1", tmp_path / "image.tar")
    assert [path.name for path in tmp_path.iterdir()] == ["image.tar"]
    assert (tmp_path / "image.tar").read_text() == "an older one"
    with pytest.raises(ImageTransferError, match="cannot write"):
        await transfer.save(Engine(), "inside:1", tmp_path / "nowhere" / "image.tar")
