"""What orchestrator and relays say to each other: TLS between holders of one secret, then lines of JSON.

**Who is who.** The secret is a file with a private key and a certificate that this very key has signed. Each side
proves that it has the key (TLS 1.3 makes both sign the handshake) and takes from the other the same certificate, byte
for byte, and no other. Without the key nobody can do so, in whichever role and however many handshakes were
overheard; each handshake signs fresh randomness, tickets and early data are off, so nothing can be replayed; versions
below 1.3 and peers that do not speak this protocol's version (ALPN) are refused, so there is nothing to fall back to.

**What is said.** The orchestrator asks in a line, the relay answers in a line; then the next question comes on the
same connection. Unless it was to "watch", from which on events come, or for "streams": such a connection carries all
that visitors and notebooks have to say to each other from then on (`streams`). All that is read is bounded and
checked.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import ssl
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic

from tmpnb_py.core.errors import EngineError, NoSuchContainerError, SettingsError
from tmpnb_py.core.models import Protection
from tmpnb_py.engines.docker.options import is_id
from tmpnb_py.engines.docker.registries import REFERENCE
from tmpnb_py.engines.isolation import EngineLimits
from tmpnb_py.engines.swarm.parcels import layers, manifests

PORT = 7443
LIMIT = 512 * 1024  # bytes of a line; the longest is a list of a node's notebooks, or 64 KiB of a log
_ALPN = "tmpnb-relay/2"
HEARTBEAT_SECONDS = 3.0
SILENCE_SECONDS = 10.0  # whoever watches and hears nothing for so long has lost the node
HANDSHAKE_SECONDS = 10.0
_CHUNK = 256 * 1024
CHUNK_SECONDS = 60.0
STALLED_SECONDS = 120.0  # in which whoever is put through takes nothing of what it is sent
FLUSH_SECONDS = 10.0
MOST_KEPT = 1000  # images that are in use
AUTH_LIMIT = 16 * 1024  # a token of a registry
_IMAGE = re.compile(f"{layers.DIGEST}|{REFERENCE}")  # by its digest only, which means one image for ever


class RelayAwayError(EngineError):
    """The relay of a node does not answer; its notebooks may live on."""


class BusyError(EngineError):
    """Somebody else brings the node this image just now."""


class Question(pydantic.BaseModel):
    """What the orchestrator asks. Each operation uses some of the fields; unknown ones are refused."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    do: Literal[
        "hello",
        "take",
        "ready",
        "remove",
        "ended",
        "inventory",
        "logs",
        "usage",
        "has_image",
        "layers",
        "load",
        "prune",
        "pull",
        "watch",
        "streams",
    ]
    pool: str = pydantic.Field(default="", pattern=r"^([a-zA-Z0-9][a-zA-Z0-9_.-]{0,63})?$")
    id: str = ""
    image: str = pydantic.Field(default="", max_length=512)
    auth: str = pydantic.Field(default="", max_length=AUTH_LIMIT, pattern=r"^[A-Za-z0-9_=-]*$")
    cpu_quota: int = pydantic.Field(default=0, ge=0, le=1 << 40)
    tolerated: tuple[Protection, ...] = pydantic.Field(default=(), max_length=len(Protection))
    lines: int = pydantic.Field(default=0, ge=0, le=10_000)
    config: str = pydantic.Field(default="", max_length=layers.CONFIG_LIMIT)
    documents: tuple[Annotated[str, pydantic.Field(max_length=layers.CONFIG_LIMIT)], ...] = pydantic.Field(
        default=(), max_length=manifests.MOST_DOCUMENTS
    )
    keep: tuple[Annotated[str, pydantic.Field(pattern=f"^{layers.DIGEST}$")], ...] = pydantic.Field(
        default=(), max_length=MOST_KEPT
    )
    layer: int = pydantic.Field(default=0, ge=0, le=layers.MOST_LAYERS)
    size: int = pydantic.Field(default=0, ge=0, le=layers.LAYER_LIMIT)

    @pydantic.field_validator("image")
    @classmethod
    def _is_pinned(cls, value: str) -> str:
        if value and not _IMAGE.fullmatch(value):
            raise ValueError("not an image by its digest")
        return value

    @pydantic.field_validator("id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if value and not is_id(value):
            raise ValueError("not an id")
        return value


class Notebook(pydantic.BaseModel):
    """Where a stream leads to."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)

    pool: str = pydantic.Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}$")
    id: str

    @pydantic.field_validator("id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if not is_id(value):
            raise ValueError("not an id")
        return value


class Hello(pydantic.BaseModel):
    """Which node a relay is on, and which limits its engine can set. (Relays of before do not say: all of them.)"""

    node: str = pydantic.Field(pattern=r"^[a-z0-9]{1,64}$")
    name: str = pydantic.Field(max_length=256)
    limits: EngineLimits = EngineLimits()


class Event(pydantic.BaseModel):
    """What a watcher is told. "again": events may have been missed; "alive": nothing has happened.

    `engine_stops`: who died did so as the node's engine was stopping, which ends its containers.
    """

    event: Literal["again", "alive", "started", "died", "gone"]
    id: str = pydantic.Field(default="", pattern=r"^[a-z0-9]{0,64}$")
    status: int = pydantic.Field(default=0, ge=-1, le=1 << 31)
    out_of_memory: bool = False
    engine_stops: bool = False


class Contexts:
    """Both sides' TLS, made from the secret."""

    def __init__(self, secret: Path, *protocols: str) -> None:
        """`protocols` are what both sides may speak, by the names that ALPN has for them, the best one first.

        Raises `SettingsError` where the secret cannot be used.
        """
        self._secret = secret
        self._protocols = protocols or (_ALPN,)
        self._certificate, self.server, self.client = self._read()

    def renew(self) -> bool:
        """Read the secret again. Whoever comes, or is dialled, from now on has to hold the new one; connections stay.

        Returns whether it is another one. Raises `SettingsError` where it cannot be used; the old one counts then.
        """
        certificate, _, client = self._read()
        is_new = certificate != self._certificate
        if is_new:
            self._load(self.server)  # listeners have this very object
            self._certificate, self.client = certificate, client
        return is_new

    def _read(self) -> tuple[bytes, ssl.SSLContext, ssl.SSLContext]:
        secret = self._secret
        try:
            text = secret.read_text()
            certificate = ssl.PEM_cert_to_DER_cert(text[text.index(ssl.PEM_HEADER) :].strip())
            server, client = self._made(ssl.PROTOCOL_TLS_SERVER), self._made(ssl.PROTOCOL_TLS_CLIENT)
            server.num_tickets = 0
            return certificate, server, client
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(
                f"the relays' secret {secret} cannot be used: {error}",
                remedy="it has to be a private key and a certificate of its own: see docs/swarm.md",
            ) from error

    def _load(self, context: ssl.SSLContext) -> None:
        context.load_cert_chain(self._secret)
        context.load_verify_locations(self._secret)

    def _made(self, side: ssl._SSLMethod) -> ssl.SSLContext:
        context = ssl.SSLContext(side)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.check_hostname = False  # the certificate has no name: it is compared as a whole
        context.verify_mode = ssl.CERT_REQUIRED
        self._load(context)
        context.set_alpn_protocols(list(self._protocols))
        return context

    def is_ours(self, writer: asyncio.StreamWriter) -> bool:
        """Whether a finished handshake was with a holder of the secret that speaks one of these protocols."""
        tls = writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) if tls is not None else None
        if certificate is None or spoken(writer) not in self._protocols:
            return False
        return hmac.compare_digest(certificate, self._certificate)


def spoken(writer: asyncio.StreamWriter) -> str:
    """The protocol that both sides of a connection have agreed on, "" where there is none."""
    tls = writer.get_extra_info("ssl_object")
    return (tls.selected_alpn_protocol() or "") if tls is not None else ""


def line_of(message: pydantic.BaseModel | dict[str, Any]) -> bytes:
    """A message as it is sent."""
    if isinstance(message, pydantic.BaseModel):
        return message.model_dump_json(exclude_defaults=True).encode() + b"\n"
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


async def read_line(reader: asyncio.StreamReader) -> bytes:
    """A line, b"" at the end of the connection. Raises `RelayAwayError` for one that is cut off or too long."""
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise RelayAwayError("a message was cut off") from error
        return b""
    except asyncio.LimitOverrunError as error:
        raise RelayAwayError("a message is too long") from error
    return line


async def read_exactly(reader: asyncio.StreamReader, size: int) -> AsyncGenerator[bytes, None]:
    """So many bytes in chunks. Raises `RelayAwayError` where fewer come, or none for a long time."""
    while size:
        try:
            async with asyncio.timeout(CHUNK_SECONDS):
                chunk = await reader.read(min(_CHUNK, size))
        except TimeoutError as error:
            raise RelayAwayError("nothing more came") from error
        if not chunk:
            raise RelayAwayError("it was cut off")
        size -= len(chunk)
        yield chunk


def answer_of(line: bytes) -> dict[str, Any]:
    """What a relay has answered. Raises what it could not do."""
    if not line:
        raise RelayAwayError("the relay has closed the connection")
    try:
        answer = json.loads(line)
    except ValueError as error:
        raise RelayAwayError("the relay's answer is not JSON") from error
    if isinstance(answer, dict) and isinstance(answer.get("ok"), dict):
        return dict(answer["ok"])
    if isinstance(answer, dict) and isinstance(answer.get("error"), str):
        if answer.get("gone") is True:
            raise NoSuchContainerError(answer["error"][:1000])
        if answer.get("busy") is True:
            raise BusyError(answer["error"][:1000])
        raise EngineError(answer["error"][:1000], remedy=str(answer.get("remedy", ""))[:1000])
    raise RelayAwayError("the relay's answer is none")


def refusal_of(error: EngineError) -> dict[str, Any]:
    """What a relay answers where it could not do it."""
    return {
        "error": error.message[:1000],
        "remedy": error.remedy[:1000],
        "gone": isinstance(error, NoSuchContainerError),
        "busy": isinstance(error, BusyError),
    }


Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def join(one: Connection, other: Connection) -> None:
    """Connect two connections until either side ends; then both are closed. (TLS has no half-closed connections.)

    Whoever takes nothing of what it is sent is cut off after a while: else each connection to it would stay here.
    """
    try:
        async with asyncio.TaskGroup() as group:
            pumps = (group.create_task(_pump(one, other)), group.create_task(_pump(other, one)))
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.gather(_flushed(one[1]), _flushed(other[1]))
    finally:
        one[1].close()
        other[1].close()


async def _flushed(writer: asyncio.StreamWriter) -> None:
    """Close it once what is left has been taken, or after a while without that."""
    writer.close()
    with contextlib.suppress(OSError):
        async with asyncio.timeout(FLUSH_SECONDS) as left:
            await writer.wait_closed()
    if left.expired():
        writer.transport.abort()


async def _pump(source: Connection, sink: Connection) -> None:
    """Bytes from one to the other until either ends. Closing both ends the pump of the other direction."""
    try:
        with contextlib.suppress(OSError):
            while data := await source[0].read(_CHUNK):
                if sink[1].is_closing():
                    break
                sink[1].write(data)
                async with asyncio.timeout(STALLED_SECONDS):
                    await sink[1].drain()
    finally:
        source[1].close()
        sink[1].close()
