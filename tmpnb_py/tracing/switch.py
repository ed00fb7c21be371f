"""Whether traces are made: as OpenTelemetry's own environment variables say.

Nothing of the SDK is imported where they say no. Where it is not installed, or cannot be set up, the service runs
without traces and says so: an endpoint may be in the environment of a whole machine.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Mapping
from typing import cast

import structlog

from tmpnb_py.tracing.spans import Tracing

_log = structlog.get_logger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_END_SECONDS = 3.0  # for the last spans, when the service ends
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


def is_wanted(environ: Mapping[str, str]) -> bool:
    """Whether there is an endpoint, and nothing that switches traces off."""
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower() not in ("", "otlp"):
        return False
    return any(environ.get(name, "").strip() for name in ENDPOINTS)


@contextlib.asynccontextmanager
async def tracing(environ: Mapping[str, str]) -> AsyncIterator[Tracing | None]:
    """What makes traces, as `tracing_of`; on leaving, what is left is sent."""
    found = tracing_of(environ)
    try:
        yield found
    finally:
        if found is not None:
            await found.close(_END_SECONDS)


def tracing_of(environ: Mapping[str, str]) -> Tracing | None:
    """What makes traces; None where none are wanted, or none can be made. Call it in a running event loop."""
    if not is_wanted(environ):
        return None
    protocol = next((value for name in _PROTOCOLS if (value := environ.get(name, "").strip())), "http/protobuf")
    if protocol != "http/protobuf":
        _log.warning("tracing_unavailable", error=f"{protocol} is not spoken here", hint="use http/protobuf")
        return None
    try:
        found = importlib.import_module("tmpnb_py.tracing.otel").start(environ)
    except ImportError as error:
        hint = "pip install 'tmpnb-py[otel]'; the service runs without traces"
        _log.warning("tracing_unavailable", error=f"{error.name} is not installed", hint=hint)
        return None
    except Exception as error:  # noqa: BLE001  (whatever the SDK makes of its variables)
        hint = "look at the OTEL_ variables; the service runs without traces"
        _log.warning("tracing_unavailable", error=type(error).__name__, hint=hint)
        return None

    return cast(Tracing, found)
