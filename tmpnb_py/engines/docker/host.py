"""Find the Docker engine, and explain to the operator when nothing (or something else) answers there.

Pure, except for reading certificate files and for `session`. Used by whatever talks to a Docker engine.
"""

from __future__ import annotations

import dataclasses
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import structlog

from tmpnb_py.core.errors import (
    LACK_REMEDY,
    EngineDownError,
    EngineError,
    EngineForbiddenError,
    ImageMissingError,
    LackError,
    NoSuchContainerError,
    WrongEngineError,
    causes,
    is_our_lack,
)

DEFAULT = "unix:///var/run/docker.sock"
_WRITE_IT_AS = "write it as unix:///var/run/docker.sock or tcp://host:port"


log = structlog.get_logger(__name__)


class RefusedError(EngineError):
    """The engine answered with an error of HTTP status `status`."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class NetworkGoneError(RefusedError):
    """A container's network does not exist, or no longer."""


@dataclasses.dataclass(frozen=True, slots=True)
class DockerHost:
    """A parsed `DOCKER_HOST`. `base` is the prefix of the API's URLs; `socket` is "" for TCP."""

    url: str
    base: str
    socket: str = ""
    tls: ssl.SSLContext | None = None


def session(host: DockerHost, connect_seconds: float) -> aiohttp.ClientSession:
    """A session without a connection limit, as long streams must not starve short calls. Callers set timeouts."""
    connector: aiohttp.BaseConnector
    if host.socket:
        connector = aiohttp.UnixConnector(host.socket, limit=0)
    else:
        connector = aiohttp.TCPConnector(limit=0, ssl=host.tls or True)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_seconds)
    return aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar())


def resolve(docker_host: str | None, environ: Mapping[str, str]) -> DockerHost:
    """Find the engine as the docker command does. Raises `EngineDownError` for an unusable address."""
    url = docker_host or environ.get("DOCKER_HOST") or DEFAULT
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "unix" and rest:
        # tmpnb's own default was unix://var/run/docker.sock, with two slashes.
        return DockerHost(url, "unix://localhost", socket="/" + rest.lstrip("/"))
    if separator and scheme in ("tcp", "http", "https"):
        return _tcp(url, scheme, environ)
    if scheme == "ssh":
        raise EngineDownError(
            f"DOCKER_HOST={url}: ssh is not supported",
            remedy="forward the socket and use that: ssh -NL /tmp/docker.sock:/var/run/docker.sock host",
        )
    raise EngineDownError(f"DOCKER_HOST={url} is not the address of a Docker engine", remedy=_WRITE_IT_AS)


def _tcp(url: str, scheme: str, environ: Mapping[str, str]) -> DockerHost:
    tls = scheme == "https" or environ.get("DOCKER_TLS_VERIFY", "") not in ("", "0")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise EngineDownError(f"DOCKER_HOST={url}: {error}", remedy=_WRITE_IT_AS) from error
    if not host:
        raise EngineDownError(f"DOCKER_HOST={url} has no host", remedy=_WRITE_IT_AS)
    authority = f"[{host}]" if ":" in host else host
    if not tls:
        return DockerHost(url, f"http://{authority}:{port or 2375}")
    return DockerHost(url, f"https://{authority}:{port or 2376}", tls=_tls_context(environ))


def _tls_context(environ: Mapping[str, str]) -> ssl.SSLContext:
    """A client context for `DOCKER_TLS_VERIFY`, from ca.pem, cert.pem and key.pem, as for the docker command."""
    folder = Path(environ.get("DOCKER_CERT_PATH") or Path.home() / ".docker")
    missing = [name for name in ("ca.pem", "cert.pem", "key.pem") if not (folder / name).is_file()]
    if missing:
        raise EngineDownError(
            f"DOCKER_TLS_VERIFY is set, but {folder} has no {' and no '.join(missing)}",
            remedy="set DOCKER_CERT_PATH to the directory with ca.pem, cert.pem and key.pem",
        )
    try:
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    except (OSError, ssl.SSLError) as error:
        raise EngineDownError(
            f"cannot use the TLS files in {folder}: {error}",
            remedy="set DOCKER_CERT_PATH to the directory with ca.pem, cert.pem and key.pem",
        ) from error
    return context


def explain(host: DockerHost, error: BaseException, *, doing: str) -> EngineError:
    """Explain to the operator why the engine could not be reached while `doing` something.

    If only this process lacks resources, the engine is not to blame: `LackError`.
    """
    if is_our_lack(error, unsent=True):
        return LackError(f"no file descriptor is left to call the Docker engine ({doing})", remedy=LACK_REMEDY)
    return _unreached(host, error, doing)


def _unreached(host: DockerHost, error: BaseException, doing: str) -> EngineDownError:
    for cause in causes(error):
        match cause:
            case TimeoutError():
                return EngineDownError(
                    f"the Docker engine at {host.url} did not answer in time ({doing})",
                    remedy="check that the engine is not overloaded: `docker info` should answer at once",
                )
            case ssl.SSLError():
                return EngineDownError(
                    f"no TLS connection to {host.url}: {cause}",
                    remedy="check DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and the port",
                )
            case PermissionError():
                return EngineForbiddenError(
                    f"this user may not use the Docker engine at {host.url}",
                    remedy="add this user to the group docker, or run as root",
                )
            case FileNotFoundError() | NotADirectoryError():
                return _absent(host)
            case ConnectionRefusedError():
                return EngineDownError(
                    f"nothing listens at {host.url}", remedy="start the Docker engine, or set DOCKER_HOST"
                )
    return EngineDownError(
        f"cannot reach the Docker engine at {host.url} ({doing}): {error or type(error).__name__}",
        remedy="start the Docker engine, or set DOCKER_HOST",
    )


def _absent(host: DockerHost) -> EngineDownError:
    return EngineDownError(f"no Docker engine at {host.url}", remedy="start it, or set DOCKER_HOST")


def refusal(status: int, message: str) -> EngineError:
    """The error for a failed answer of the engine. Only the message tells what a 404 is about."""
    lower = message.lower()
    if "no such image" in lower:
        return ImageMissingError(message, remedy="build or pull the image")
    if "network" in lower and "not found" in lower:
        return NetworkGoneError(message, status)
    if "no such container" in lower:
        return NoSuchContainerError(message)
    return RefusedError(message or f"status {status}", status)


def message_of(body: bytes) -> str:
    """The error message in the body of such an answer."""
    text = body.decode("utf-8", "replace")
    try:
        return str(json.loads(text)["message"])
    except (ValueError, LookupError, TypeError):
        return text[:500]


# How an answer of another shape than Docker's shows itself.
NOT_UNDERSTOOD = (ValueError, LookupError, TypeError, AttributeError)


def not_understood(error: Exception, doing: str) -> EngineDownError:
    """The error for an answer that is not Docker's. Nobody knows what the engine did, as where there is no answer.

    It is logged with its trace, as the misunderstanding may be this program's.
    """
    log.error("answer_not_understood", doing=doing, exc_info=error)
    return EngineDownError(
        f"the Docker engine sent an answer that is not of Docker's API ({doing}): {type(error).__name__}",
        remedy="see the engine's log, and what is between it and this program",
    )


def not_an_engine(host: DockerHost, why: object) -> EngineDownError:
    """The error for a server that does not speak Docker's API."""
    return EngineDownError(
        f"the server at {host.url} is not a usable Docker engine: {why}",
        remedy="set DOCKER_HOST to a Docker engine (and DOCKER_TLS_VERIFY=1 if it wants TLS)",
    )


def refuse_podman(host: DockerHost, version: Mapping[str, Any]) -> None:
    """Raise `WrongEngineError` for Podman, by its answer to `GET /version`: docs/engines.md says what it lacks."""
    names = [str(one.get("Name", "")) for one in version.get("Components") or ()]
    if any("podman" in name.lower() for name in names):
        raise WrongEngineError(
            f"the server at {host.url} is Podman {version.get('Version', '')}, which accepts Docker's options for "
            "isolating containers but does not apply them",
            remedy="set DOCKER_HOST to a Docker engine, or use --engine local",
        )
