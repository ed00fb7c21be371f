"""Names of images that are in a registry, and what `docker login` has kept for it. Used by whatever pulls images.

A name begins with its registry's host, as Docker has it (https://pkg.go.dev/github.com/distribution/reference): what
is before the first slash is a host if it has a dot or a colon, or is `localhost`. Other names are images that
somebody has built, loaded or pulled; nobody is asked about them.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tmpnb_py.core.errors import EngineError

_DIGEST = r"sha256:[0-9a-f]{64}"
_HOST = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,252}[a-zA-Z0-9])?|\[[0-9a-fA-F:]{2,45}\])(?::[0-9]{1,5})?"
_PATH = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = rf"({_HOST})/{_PATH}(?:/{_PATH})*"
_NAME = re.compile(rf"(?P<repository>{_REPOSITORY})(?::[\w][\w.-]{{0,127}})?(?P<digest>@{_DIGEST})?", re.ASCII)
REFERENCE = rf"{_REPOSITORY}@{_DIGEST}"
_CONFIG_LIMIT = 1024 * 1024
_HUB = ("docker.io", "https://index.docker.io/v1/")


def host_of(image: str) -> str:
    """The registry in an image's name, "" where it names none."""
    match = _NAME.fullmatch(image) if len(image) <= 512 else None
    host = match[2] if match is not None else ""
    return host if host == "localhost" or any(one in host for one in ".:") else ""


def pinned(image: str, digest: str) -> str:
    """`host/repository@digest`, which means one image for ever. Raises `ValueError` for what is no digest."""
    match = _NAME.fullmatch(image)
    if match is None or not re.fullmatch(_DIGEST, digest):
        raise ValueError(digest[:100])
    return f"{match['repository']}@{digest}"


def digest_of(image: str) -> str:
    """The digest in an image's name, "" where it has none."""
    match = _NAME.fullmatch(image)
    return (match["digest"] or "").removeprefix("@") if match is not None else ""


def authorization(image: str, environ: Mapping[str, str]) -> dict[str, str]:
    """The header for an image's registry, none where nobody has logged in.

    From `config.json` in `DOCKER_CONFIG` or `~/.docker`, as `docker login` writes it. Raises `EngineError` for a file
    that cannot be used; credential helpers are programs of their own, and not called.
    """
    path = Path(environ.get("DOCKER_CONFIG") or "~/.docker", "config.json")
    try:
        path = path.expanduser()
        if path.stat().st_size > _CONFIG_LIMIT:
            raise ValueError("it is too large")
        found = header(json.loads(path.read_text()), host_of(image) or _HUB[0])
    except (FileNotFoundError, RuntimeError):  # RuntimeError: this user has no home
        return {}
    except PermissionError as error:
        if not environ.get("DOCKER_CONFIG"):  # of who has become another user, and whose home is still the other's
            return {}
        raise EngineError(f"what docker login has kept in {path} may not be read: {error}") from error
    except (OSError, ValueError) as error:
        raise EngineError(f"what docker login has kept in {path} cannot be used: {error}") from error
    return {"X-Registry-Auth": found} if found else {}


def header(config: Any, host: str) -> str:
    """The header's value for a registry, from the JSON of `config.json`. Raises `ValueError`. Pure."""
    listed = config.get("auths") if isinstance(config, dict) else None
    if not host or not isinstance(listed, dict):
        return ""
    keys = (host, f"https://{host}", f"http://{host}", *(_HUB if host in _HUB else ()))
    found = next((listed[one] for one in keys if isinstance(listed.get(one), dict)), None)
    if found is None:
        return ""
    made: dict[str, str] = {"serveraddress": host}
    if isinstance(found.get("identitytoken"), str):
        made["identitytoken"] = found["identitytoken"]
    if isinstance(found.get("auth"), str):
        try:
            name, _, password = base64.b64decode(found["auth"], validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise ValueError(f"the entry of {host} is damaged") from error
        made |= {"username": name, "password": password.rstrip("\0")}
    if len(made) == 1:
        raise ValueError(f"the password of {host} is kept by a credential helper, which is not asked")
    return base64.urlsafe_b64encode(json.dumps(made).encode()).decode()
