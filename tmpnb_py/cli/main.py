"""The command line: the entry point and `serve`. The other commands are in `tmpnb_py.cli.commands`.

`main` is the program's entry point and the only place that turns errors into messages and exit codes. Each command
imports the modules that do its work only when it runs, so that `--help` and a wrong option answer at once.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NoReturn

import click

import tmpnb_py
from tmpnb_py.cli.commands import bookings, doctor, front, image, purge, relay, service, timetable
from tmpnb_py.cli.commands import config as config_command
from tmpnb_py.cli.options import SettingsCommand, read, with_settings
from tmpnb_py.core.errors import find_known
from tmpnb_py.options.settings import Settings
from tmpnb_py.options.sources import LoadedSettings

EXIT_CODES = """\
Exit codes: 0 done, 1 unexpected error, 2 wrong option or configuration, 3 engine, 4 image, 5 address or port,
6 another process manages the pool, 7 no service answers or it refused, 8 doctor or timetable found something wrong,
130 interrupted."""

_UNEXPECTED = 1
_INTERRUPTED = 130
_PIPE_CLOSED = 141  # a shell's exit code for a program that SIGPIPE ended


_FAULT = "This is a fault of tmpnb-py. Please report it with the lines above."
_NO_ROOM = "This process gets no thread or no memory: raise TasksMax= and MemoryMax= of its unit, or ulimit -u."


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(_run(arguments))


def _run(arguments: Sequence[str] | None) -> int:
    """Run and return the exit code. Raises nothing but SystemExit."""
    try:
        result = cli.main(arguments, prog_name="tmpnb-py", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:  # the reader has closed the pipe: `tmpnb-py sessions | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else flushing it at exit would fail again
        return _PIPE_CLOSED
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the program's last resort
        return _report(error)


def _report(error: Exception) -> int:
    known = find_known(error)
    if known is None:
        return _report_fault(error)
    click.echo(f"error: {known.message}", err=True)
    if known.remedy:
        click.echo(f"  → {known.remedy}", err=True)
    return known.exit_code


def _report_fault(error: Exception) -> int:
    from tmpnb_py.core.logs import redact_text  # noqa: PLC0415 - see the module's docstring

    click.echo(redact_text("".join(traceback.format_exception(error))), err=True)
    click.echo(f"error: unexpected {type(error).__name__}: {redact_text(str(error))}", err=True)
    click.echo(f"  → {_NO_ROOM if _lacks_room(error) else _FAULT}", err=True)
    return _UNEXPECTED


def _lacks_room(error: BaseException | None) -> bool:
    """Whether the machine refuses this process a thread or memory."""
    while error is not None and not isinstance(error, MemoryError) and str(error) != "can't start new thread":
        error = error.__cause__ or error.__context__
    return error is not None


def _run_async(work: Coroutine[Any, Any, None]) -> None:
    atexit.register(_end_in_peace)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(work)


def _end_in_peace() -> None:
    """While Python itself ends, one more signal would make an orderly end look like a crash."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - see the module's docstring
    except ImportError:  # not on Windows
        return asyncio.new_event_loop
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def _dashes(name: str) -> str:
    """Accept `--pool_size`, as tmpnb wrote it, for `--pool-size`."""
    return name.replace("_", "-")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "token_normalize_func": _dashes},
    epilog=EXIT_CODES,
)
@click.version_option(tmpnb_py.__version__, prog_name="tmpnb-py", message="%(prog)s %(version)s")
def cli() -> None:
    """Temporary Jupyter notebooks: a pool of containers, a reverse proxy and a reaper in one program."""


@cli.command(cls=SettingsCommand, epilog=EXIT_CODES)
@with_settings()
@click.pass_context
def serve(ctx: click.Context, config: str | None) -> None:
    """Keep notebooks ready and hand them to visitors.

    Each option may also be set as an environment variable (--pool-size is TMPNB_POOL_SIZE) or in a TOML file
    (pool_size). The command line overrides the environment, which overrides the file.
    """
    from tmpnb_py.service.hangup import Hangup  # noqa: PLC0415 - see the module's docstring

    hangup = Hangup()
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)  # which would kill; there is nothing to upgrade yet
    loaded = read(ctx, config)
    _configure_logs(loaded)
    from tmpnb_py.service.serve import serve as serve_app  # noqa: PLC0415 - see the module's docstring

    def reread() -> Settings:
        again = read(ctx, config)
        _log_warnings(again)
        return again.settings

    _run_async(serve_app(loaded.settings, reread, hangup))


def _configure_logs(loaded: LoadedSettings) -> None:
    from tmpnb_py.core import logs  # noqa: PLC0415 - see the module's docstring

    logs.configure(loaded.settings.log_format, loaded.settings.log_level)
    _log_warnings(loaded)


def _log_warnings(loaded: LoadedSettings) -> None:
    import structlog  # noqa: PLC0415 - see the module's docstring

    for warning in loaded.warnings:
        structlog.get_logger(__name__).warning("settings", hint=warning)


for _command in (
    *service.COMMANDS,
    *bookings.COMMANDS,
    *purge.COMMANDS,
    *doctor.COMMANDS,
    *timetable.COMMANDS,
    *config_command.COMMANDS,
    *image.COMMANDS,
    *relay.COMMANDS,
    *front.COMMANDS,
):
    cli.add_command(_command)
