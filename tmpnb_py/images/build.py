"""Builds the workshops' image through the engine's API. Called by `image build` and by `serve`.

The directory `workshop_image` becomes a tar archive in an unnamed file, which the engine builds. If the engine lacks
the base image, it is pulled, or else made with mmdebstrap (if no registry is reachable). Nothing runs concurrently
here; errors and cancellation leave nothing behind but the engine's build cache.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import re
import shutil
import signal
import ssl
import tarfile
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from typing import IO

from tmpnb_py import __version__
from tmpnb_py.core.errors import ImageBuildError, ImageMissingError
from tmpnb_py.core.installation import workshop_directory
from tmpnb_py.engines.base import ImageStore

DEFAULT_BASE = "debian:bookworm-slim"
DEFAULT_NETWORK = "host"  # the build can use the host's resolver and VPN; it only runs our Dockerfile
HOME_MADE_BASE = "tmpnb-py-base"  # tagged with the suite; must not be mistaken for Debian's own image

_CA_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE")
_PROXY_VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_BUILDER_STEP = re.compile(r"Step (\d+)/(\d+) : (.*)")
_DEBIAN = re.compile(r"debian:([a-z]+)(?:-slim)?")
_CHUNK = 256 * 1024
_TERMINATE_SECONDS = 20.0
_STDERR_TAIL = 2000


@dataclasses.dataclass(frozen=True, slots=True)
class BuildStep:
    """A step that begins, `seconds` after the start; number `index` of `total` (0 of 0 outside the Dockerfile)."""

    text: str
    seconds: float
    index: int = 0
    total: int = 0


@dataclasses.dataclass(frozen=True, slots=True)
class BuildResult:
    """The name of the built image, its base, and the duration in seconds."""

    tag: str
    base: str
    seconds: float


class _Reporter:
    """Stamps steps with the time since the start of the build."""

    def __init__(self, report: Callable[[BuildStep], None]) -> None:
        self._report = report
        self._began = time.monotonic()
        self.has_begun = False  # whether the Dockerfile's first step has begun

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def say(self, text: str) -> None:
        self._report(BuildStep(text, self.seconds))

    def builder_line(self, line: str) -> None:
        """Report a builder's line if it begins a step. Other lines are package managers' output."""
        if step := _BUILDER_STEP.match(line):
            self.has_begun = True
            self._report(BuildStep(step[3], self.seconds, int(step[1]), int(step[2])))


async def build(
    engine: ImageStore,
    *,
    tag: str,
    report: Callable[[BuildStep], None],
    target: str = "full",
    base: str | None = None,
    ca_bundle: Path | None = None,
    network: str | None = None,
    buildkit: bool | None = None,
    environ: Mapping[str, str] = os.environ,
) -> BuildResult:
    """Build the workshops' image. Calls `report` when a step begins.

    `buildkit` None uses BuildKit if the engine has it: it builds stages concurrently, in a third of the time. If
    BuildKit fails before its first step, the classic builder takes over. Without `ca_bundle` the build trusts the
    one that the environment names (for networks that inspect TLS). Raises `ImageBuildError`, and the engine's errors.
    """
    reporter = _Reporter(report)
    with _disk_explained():
        directory = workshop_directory()
        certificates = _certificates(ca_bundle, environ, reporter)
        chosen = await ensure_base(engine, base or DEFAULT_BASE, reporter.say)
        with tempfile.TemporaryFile(prefix="tmpnb-py-build-") as context:
            await asyncio.to_thread(write_context, context, directory, certificates)
            for builder in await _builders(engine, buildkit):
                context.seek(0)
                lines = engine.build_image(
                    context,
                    tag=tag,
                    build_args={"BASE": chosen, **forwarded_build_args(environ)},
                    target=target,
                    network=network or DEFAULT_NETWORK,
                    labels={"org.opencontainers.image.version": __version__},
                    buildkit=builder,
                )
                try:
                    await _follow(lines, reporter)
                    break
                except ImageBuildError as error:
                    if reporter.has_begun or not builder or buildkit:
                        raise
                    reporter.say(f"BuildKit does not work here ({error}): using the classic builder")
    return BuildResult(tag, chosen, reporter.seconds)


@contextmanager
def _disk_explained() -> Iterator[None]:
    """Add a remedy if a file cannot be written or a process cannot be started. Raises `ImageBuildError`."""
    try:
        yield
    except OSError as error:
        raise ImageBuildError(
            f"the image could not be built: {error}",
            remedy=f"check that {tempfile.gettempdir()} has free space, or set TMPDIR to another directory",
        ) from error


async def _builders(engine: ImageStore, buildkit: bool | None) -> tuple[bool, ...]:
    """Whether to use BuildKit, for each attempt in turn."""
    if buildkit is not None:
        return (buildkit,)
    return (True, False) if await engine.has_buildkit() else (False,)


async def _follow(lines: AsyncGenerator[str, None], reporter: _Reporter) -> None:
    try:
        async with aclosing(lines):
            async for line in lines:
                reporter.builder_line(line)
    except ImageBuildError as error:
        if not error.remedy and "CERTIFICATE_VERIFY_FAILED" in error.message:
            error.remedy = "this network inspects TLS: pass its authority's certificates with --ca-bundle"
        raise


# ---- the build context and arguments------------------------------------------------------------------------


def write_context(file: IO[bytes], directory: Path, certificates: str) -> None:
    """Write the build context as a tar archive and rewind. Only the archive contains the certificates."""
    # BuildKit mistakes an archive that begins with an extended header (pax, for fractional seconds) for a Dockerfile.
    with tarfile.open(fileobj=file, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for path in sorted(directory.rglob("*")):
            name = path.relative_to(directory)
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in name.parts):
                tar.add(path, str(name), filter=_normalised)
        if certificates:
            data = certificates.encode()
            entry = tarfile.TarInfo("certs/extra.crt")
            entry.size = len(data)
            tar.addfile(entry, BytesIO(data))
    file.seek(0)


def _normalised(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Make builds reproducible: normalise umask, owner, and execute bits that wheels lose."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = int(entry.mtime)
    entry.mode = 0o755 if entry.name.endswith(".sh") else 0o644
    return entry


def forwarded_build_args(environ: Mapping[str, str]) -> dict[str, str]:
    """The host's proxies (the builder keeps these out of the image's history) and its PyPI mirror."""
    names = [*_PROXY_VARIABLES, *(name.lower() for name in _PROXY_VARIABLES)]
    args = {name: environ[name] for name in names if environ.get(name)}
    index = environ.get("PIP_INDEX_URL", "")
    return args | ({"PIP_INDEX_URL": index} if index.startswith(("https://", "http://")) else {})


def _certificates(ca_bundle: Path | None, environ: Mapping[str, str], reporter: _Reporter) -> str:
    """PEM certificates to trust while building, besides the base's own; "" for none."""
    if ca_bundle is not None:
        return read_ca_bundle(ca_bundle)
    for variable in _CA_VARIABLES:
        path = Path(environ.get(variable) or os.devnull)
        if path.is_file():
            reporter.say(f"trusting the certificates in {path} while building (from {variable})")
            return read_ca_bundle(path)
    return ""


def read_ca_bundle(path: Path) -> str:
    """Extract only the certificates from a PEM file. Raises `ImageBuildError` if there are none."""
    remedy = "--ca-bundle takes a PEM file: one or more blocks that begin with -----BEGIN CERTIFICATE-----"
    try:
        text = path.read_bytes().decode("utf-8", "replace")
    except OSError as error:
        raise ImageBuildError(f"cannot read {path}: {error.strerror}", remedy=remedy) from error
    if "PRIVATE KEY-----" in text:
        raise ImageBuildError(f"{path} contains a private key, which must not go into a build", remedy=remedy)
    bundle = "".join(f"{block}\n" for block in _CERTIFICATE.findall(text))
    if not bundle:
        raise ImageBuildError(f"{path} contains no PEM certificate", remedy=remedy)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=bundle)
    except (ssl.SSLError, ValueError) as error:
        raise ImageBuildError(f"{path} contains an invalid certificate: {error}", remedy=remedy) from error
    return bundle


# ---- the base ----------------------------------------------------------------------------------------------


async def ensure_base(engine: ImageStore, base: str, say: Callable[[str], None]) -> str:
    """Make sure that the engine has a base image, and return its name: `base`, or a home-made substitute.

    Calls `say` before slow steps. Raises `ImageBuildError`, and the engine's own errors.
    """
    suite = _DEBIAN.fullmatch(base)
    home_made = f"{HOME_MADE_BASE}:{suite[1]}" if suite else ""
    for image in filter(None, (base, home_made)):
        if await engine.image_exists(image):
            say(f"the engine has the base {image}")
            return image
    say(f"pulling the base {base}")
    try:
        async with aclosing(engine.pull_image(base)) as lines:
            async for _ in lines:
                pass
    except ImageMissingError as error:
        if not suite:
            raise ImageBuildError(
                f"the base {base} is not in the engine and cannot be pulled: {error}",
                remedy="choose another base with --base, or load that one into the engine",
            ) from error
        await _bootstrap(engine, suite[1], error, say)
        return home_made
    return base


async def _bootstrap(
    engine: ImageStore, suite: str, pull_error: ImageMissingError, say: Callable[[str], None]
) -> None:
    """Create a Debian base image from Debian's own mirrors."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise ImageBuildError(
            f"there is no base image: {pull_error}, and mmdebstrap, which could make one, is not installed",
            remedy="apt-get install mmdebstrap, or choose an image that the engine has with --base",
        ) from pull_error
    say(f"it cannot be pulled; making a Debian {suite} base with mmdebstrap")
    with (
        _scratch_directory() as scratch,
        tempfile.TemporaryFile(dir=scratch) as archive,
        tempfile.TemporaryFile(dir=scratch) as messages,
    ):
        code = await _run(_mmdebstrap(program, suite), scratch, archive, messages)
        if code:
            raise _bootstrap_error(code, messages)
        archive.seek(0)
        await engine.import_image(_chunks(archive), HOME_MADE_BASE, suite)


async def _run(command: tuple[str, ...], scratch: Path, output: IO[bytes], messages: IO[bytes]) -> int:
    """Run a command and return its exit status. Output goes to a file, so nothing waits for a reader."""
    starting = asyncio.ensure_future(
        asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=messages,
            env={**os.environ, "TMPDIR": str(scratch)},
            start_new_session=True,  # so that Ctrl-C reaches only us, and we end it in order
        )
    )
    try:
        process = await asyncio.shield(starting)
    except asyncio.CancelledError:
        await _end(await starting)  # if cancelled within the call, asyncio would only kill the parent
        raise
    try:
        return await process.wait()
    finally:
        await _end(process)


def _mmdebstrap(program: str, suite: str) -> tuple[str, ...]:
    """The command line: only essential packages and, like Debian's slim images, no documentation."""
    left_out = ("doc", "man", "info", "locale")
    options = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in left_out]
    options += ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "--aptopt=Acquire::Retries 3"]
    return (program, "--variant=minbase", "--format=tar", *options, suite, "-")


async def _chunks(file: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(file.read, _CHUNK):
        yield chunk


def _bootstrap_error(code: int, messages: IO[bytes]) -> ImageBuildError:
    messages.seek(0)
    tail = messages.read()[-_STDERR_TAIL:].decode("utf-8", "replace").strip()
    return ImageBuildError(
        f"mmdebstrap ended with status {code}:\n{tail}",
        remedy="it needs Debian's mirrors and the package debian-archive-keyring; or choose another --base",
    )


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process and its children: first ask, as they must remove their mounts; then kill.

    Signals the group like Ctrl-C (mmdebstrap's parent alone would wait for its worker to finish).
    """
    for number, seconds in ((signal.SIGTERM, _TERMINATE_SECONDS), (signal.SIGKILL, None)):
        if process.returncode is not None:
            return
        with suppress(ProcessLookupError, TimeoutError):
            os.killpg(process.pid, number)  # it has a session of its own, so the group contains nothing else
            async with asyncio.timeout(seconds):
                await process.wait()


@contextmanager
def _scratch_directory() -> Iterator[Path]:
    """A directory that is removed on exit, unless something is still mounted below it (perhaps the host's /dev)."""
    path = Path(tempfile.mkdtemp(prefix="tmpnb-py-base-"))
    try:
        path.chmod(0o711)  # mmdebstrap without root works as a subordinate user, who must be able to enter
        yield path
    finally:
        if f" {path}/" not in Path("/proc/self/mountinfo").read_text():
            shutil.rmtree(path, ignore_errors=True)
