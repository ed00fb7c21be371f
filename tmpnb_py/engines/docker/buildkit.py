"""Detect BuildKit and translate its progress into the classic builder's lines. Pure; for the Docker engine only.

The engine wraps BuildKit's `StatusResponse` (api/services/control/control.proto) in its own progress stream. Only
three of its fields matter, so they are parsed here without a protobuf library.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping

TRACE = "moby.buildkit.trace"

_VERTEX, _LOG = 1, 3  # of StatusResponse
_DIGEST, _NAME, _STARTED, _ERROR = 1, 3, 5, 7  # of Vertex
_MESSAGE = 4  # of VertexLog


_FIRST_API = (1, 39)  # Docker 18.09


def is_offered(headers: Mapping[str, str]) -> bool:
    """Whether an engine builds with BuildKit, by the headers of its answer to `_ping` (Docker's API, `SystemPing`).

    Docker 23 and newer name their default builder. Older versions name it only if it was configured, but have
    BuildKit anyway. Podman, which calls itself Libpod, has none.
    """
    if named := headers.get("Builder-Version"):
        return named == "2"
    is_docker = headers.get("Server", "").startswith("Docker/") and headers.get("Ostype") == "linux"
    version = re.fullmatch(r"(\d+)\.(\d+)", headers.get("Api-Version", ""))
    return is_docker and version is not None and (int(version[1]), int(version[2])) >= _FIRST_API


class Progress:
    """Turns the traces of one build into lines: "Step 3/9 : RUN …", and the commands' output."""

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._begun: set[bytes] = set()

    def lines(self, aux: object) -> Iterator[str]:
        """Yield the lines of one trace. Skips a malformed trace: progress is best effort."""
        try:
            status = list(_fields(base64.b64decode(str(aux), validate=True)))
            vertices = [_vertex(data) for number, data in status if number == _VERTEX]
            printed = [_text(dict(_fields(data)).get(_MESSAGE, b"")) for number, data in status if number == _LOG]
        except (binascii.Error, IndexError, ValueError):
            return
        self._names.update({digest: name for digest, name, _, _ in vertices if _is_step(name)})
        for digest, name, started, error in vertices:
            if started and digest in self._names and digest not in self._begun:
                self._begun.add(digest)
                yield f"Step {len(self._begun)}/{len(self._names)} : {name}"
            if error:
                yield error
        for text in printed:
            yield from text.splitlines()


def _is_step(name: str) -> bool:
    return name.startswith("[") and not name.startswith("[internal]")


def _vertex(data: bytes) -> tuple[bytes, str, bool, str]:
    """Return digest, name, whether it has started, and its error."""
    fields = dict(_fields(data))
    return fields.get(_DIGEST, b""), _text(fields.get(_NAME, b"")), _STARTED in fields, _text(fields.get(_ERROR, b""))


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield numbers and contents of a message's length-delimited fields (protobuf.dev, "Encoding"), no others."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 2:
            size, at = _varint(data, at)
            yield key >> 3, data[at : at + size]
            at += size
        elif kind == 0:
            _, at = _varint(data, at)
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError("a group, which BuildKit never sends")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at
