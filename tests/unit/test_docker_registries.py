"""Names of images in registries, and what `docker login` has kept."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tmpnb_py.core.errors import EngineError, ImageMissingError
from tmpnb_py.engines.docker import registries
from tmpnb_py.engines.docker.streams import ImageStreams, OpenStream

DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("registry:5000/team/workshop:tag", "registry:5000"),
        ("registry.example.org/workshop", "registry.example.org"),
        (f"registry.example.org/workshop:1@{DIGEST}", "registry.example.org"),
        ("localhost/workshop", "localhost"),
        ("[2001:db8::1]:5000/workshop", "[2001:db8::1]:5000"),
        ("docker.io/library/debian", "docker.io"),
        ("tmpnb-py-workshops:latest", ""),
        ("tmpnb-py-workshops:5000", ""),
        ("jupyter/minimal-notebook", ""),
        ("../x:1/y", ""),
        ("registry:5000/../info", ""),
        ("registry:5000/team/workshop:tag?x=1", ""),
        ("registry:5000/Team/workshop", ""),
        (f"sha256:{'a' * 64}", ""),
        ("registry:5000/" + "x" * 512, ""),
    ],
)
def test_hosts(image: str, host: str) -> None:
    assert registries.host_of(image) == host


def test_a_digest_takes_the_place_of_the_tag() -> None:
    assert registries.pinned("registry:5000/team/workshop:tag", DIGEST) == f"registry:5000/team/workshop@{DIGEST}"
    assert registries.pinned(f"registry:5000/w:tag@{DIGEST}", DIGEST) == f"registry:5000/w@{DIGEST}"
    assert registries.digest_of(f"registry:5000/w@{DIGEST}") == DIGEST
    assert registries.digest_of("registry:5000/w:1") == registries.digest_of(DIGEST) == ""
    for digest in ("sha256:", "sha256:1", f"{DIGEST}\n", DIGEST.upper()):
        with pytest.raises(ValueError, match=re.escape(digest.strip())):
            registries.pinned("registry:5000/w", digest)


def decoded(header: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(header))


def entry(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("key", ["r:5000", "https://r:5000", "http://r:5000"])
def test_what_docker_login_keeps(key: str) -> None:
    found = registries.header({"auths": {key: {"auth": entry("us:pass:word")}}}, "r:5000")
    assert decoded(found) == {"serveraddress": "r:5000", "username": "us", "password": "pass:word"}


def test_tokens_and_the_hub() -> None:
    config = {"auths": {"https://index.docker.io/v1/": {"identitytoken": "t", "auth": entry("us:\0")}}}
    assert decoded(registries.header(config, "docker.io"))["identitytoken"] == "t"
    assert registries.header(config, "r:5000") == registries.header(config, "") == ""


@pytest.mark.parametrize("config", [[], {}, {"auths": []}, {"auths": {"r:5000": "x"}}])
def test_nothing_for_this_registry(config: Any) -> None:
    assert registries.header(config, "r:5000") == ""


def test_without_a_home_nobody_has_logged_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "none"))
    assert registries.authorization("debian:bookworm-slim", {}) == {}
    file = tmp_path / ".docker" / "config.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"auths": {"https://index.docker.io/v1/": {"auth": entry("us:pw")}}}))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert registries.authorization("debian:bookworm-slim", {}), "names without a host are the Hub's"
    assert registries.authorization("r:5000/w", {}) == {}


def test_what_cannot_be_used_is_told_of(tmp_path: Path) -> None:
    environ = {"DOCKER_CONFIG": str(tmp_path)}
    assert registries.authorization("r:5000/w", environ) == {}
    file = tmp_path / "config.json"
    for content in ("{", json.dumps({"auths": {"r:5000": {"auth": "%"}}}), json.dumps({"auths": {"r:5000": {}}})):
        file.write_text(content)
        with pytest.raises(EngineError, match="docker login"):
            registries.authorization("r:5000/w", environ)
    file.write_text(json.dumps({"auths": {"r:5000": {"auth": entry("us:pw")}}}))
    (name,) = registries.authorization("r:5000/w", environ)
    assert name == "X-Registry-Auth"
    assert registries.authorization("other:5000/w", environ) == {}


class Puller(ImageStreams):
    """An engine that pulls anything, or nothing, and remembers what it was sent."""

    def __init__(self, *, refuses: bool) -> None:
        super().__init__(cast(OpenStream, None))
        self.refuses = refuses
        self.sent: list[Mapping[str, str]] = []

    async def _inspect_image(self, image: str) -> Mapping[str, Any]:
        raise NotImplementedError

    async def _progress(
        self, path: str, params: Mapping[str, str], data: object, more: Mapping[str, str] | None = None
    ) -> AsyncGenerator[str, None]:
        self.sent.append(dict(more or {}))
        if self.refuses:
            raise EngineError("denied")
        yield "pulled"


async def test_a_password_in_a_credential_helper_keeps_nobody_from_a_public_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    kept = {"auths": {"https://index.docker.io/v1/": {}}, "credsStore": "pass"}
    (tmp_path / "config.json").write_text(json.dumps(kept))
    engine = Puller(refuses=False)
    assert [line async for line in engine.pull_image("debian:bookworm-slim")] == ["pulled"]
    assert engine.sent == [{}]
    with pytest.raises(ImageMissingError, match=r"denied \(.*credential helper"):
        async for _ in Puller(refuses=True).pull_image("debian:bookworm-slim"):
            pass
