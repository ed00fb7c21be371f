"""Logging: structlog and the standard library's loggers, one pipeline, to standard error.

`configure` is called once by the command line, before anything is logged. Everything passes `redact` last, so
that no code can log a visitor's or operator's token; the renderers run after it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_MASK = "***"
_MAX_DEPTH = 8
_SECRET_KEY = re.compile(r"(?:.*_)?(?:token|password|secret|cookie|authorization)", re.IGNORECASE)
# token=… as in a query (also percent-encoded), a command line or a repr, and "token": … as in JSON.
_TOKEN_IN_TEXT = re.compile(r"""(token(?:=|%3D|["']\s*[:=]\s*)\\?["']?)[^\s"'\\&#;,)\]}]+""", re.IGNORECASE)
_CREDENTIALS_IN_TEXT = re.compile(
    r"""\b(authorization["']?\s*[:=]\s*["']?\w+\s+|bearer\s+)[^\s"',]+""", re.IGNORECASE
)
_COOKIE_IN_TEXT = re.compile(r"""\b(cookie["']?\s*:\s*["']?)[^\r\n"']+""", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_MULTILINE_KEYS = {"exception", "stack"}


class _Handler(logging.StreamHandler[TextIO]):
    """Our handler, a class of its own so that `configure` recognises it."""


def configure(log_format: str = "auto", log_level: str = "info", stream: TextIO | None = None) -> None:
    """Route all logging to `stream` (standard error). May be called again, such as after a reload."""
    stream = sys.stderr if stream is None else stream
    is_console = log_format == "console" or (log_format == "auto" and stream.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.PositionalArgumentsFormatter(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    handler = _Handler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.StackInfoRenderer(),
                structlog.processors.format_exc_info,
                redact,
                *(_console(stream) if is_console else _json()),
            ],
        )
    )
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(log_level.upper())


def set_level(log_level: str) -> None:
    """Log from this level on; for a reload."""
    logging.getLogger().setLevel(log_level.upper())


def _console(stream: TextIO) -> list[Processor]:
    colors = stream.isatty() and not os.environ.get("NO_COLOR")
    # The plain formatter, because the pretty one shows local variables, and tokens among them.
    return [
        escape_control_characters,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]


def _json() -> list[Processor]:
    return [structlog.processors.JSONRenderer(ensure_ascii=False)]


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: mask tokens, cookies and credentials in every value, at any depth."""
    return {key: _clean(key, value, 0) for key, value in event.items()}


def redact_text(text: str) -> str:
    """`text` without the tokens in it; also for log lines of containers that are shown to the operator."""
    text = _TOKEN_IN_TEXT.sub(rf"\1{_MASK}", text)
    text = _COOKIE_IN_TEXT.sub(rf"\1{_MASK}", text)
    return _CREDENTIALS_IN_TEXT.sub(rf"\1{_MASK}", text)


def _clean(key: object, value: Any, depth: int) -> Any:  # noqa: PLR0911 - one for each kind of value
    if isinstance(key, str) and value and _SECRET_KEY.fullmatch(key.replace("-", "_")):
        return _MASK
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return redact_text(value)
    if depth >= _MAX_DEPTH:
        return "…"
    if isinstance(value, Mapping):
        return {_clean(None, name, depth): _clean(name, item, depth + 1) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        # The second of two may be the value of the first, as in a list of headers.
        key = next(iter(value)) if len(value) == 2 else None
        return [_clean(key if index else None, item, depth + 1) for index, item in enumerate(value)]
    if isinstance(value, bytes):
        return redact_text(value.decode("utf-8", "backslashreplace"))
    return redact_text(str(value) if isinstance(value, PurePath) else repr(value))


def escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Processor: escape control characters, which a visitor could forge log lines or drive a terminal with."""
    return {key: _escape(key, value) for key, value in event.items()}


def _escape(key: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    keep = "\n\t" if key in _MULTILINE_KEYS else ""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else ascii(match[0])[1:-1], value)
