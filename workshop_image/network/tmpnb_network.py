"""Say at once that a notebook has no network, instead of what follows from it. Imported by pip and IPython.

Without this pip tries five times and then says that the package does not exist, and Python ends in three pages about
name resolution. The service says what there is in TMPNB_EGRESS; nobody imports this module but where that is "none".
"""

import errno
import logging
import os
import socket
import sys

NO_NETWORK = "This notebook has no network: nothing outside of it can be reached."
_UNREACHABLE = (errno.ENETUNREACH, errno.EHOSTUNREACH)
_LONGEST_CHAIN = 20  # exceptions; a chain may be a ring
_FIRST = "This notebook has no network, so that packages from elsewhere cannot be installed. It has no {}."
_FURTHER = "What is installed is listed by: pip list"


def explain_pip() -> None:
    """Let pip give up at the first attempt, and say why. Files and directories can be installed as ever."""
    for name, value in (("PIP_NO_INDEX", "1"), ("PIP_RETRIES", "0"), ("PIP_DISABLE_PIP_VERSION_CHECK", "1")):
        os.environ.setdefault(name, value)
    make = logging.getLogRecordFactory()

    def explained(*arguments, **options):
        record = make(*arguments, **options)
        if record.name.startswith("pip."):
            _reword(record)
        return record

    logging.setLogRecordFactory(explained)


def _reword(record: logging.LogRecord) -> None:
    """Put the reason in the place of its consequences. What pip says in other words stays as it is."""
    text = record.getMessage()
    before, found, missing = text.partition("that satisfies the requirement ")
    if found and before.startswith("Could not find a version"):
        record.msg, record.args = _FIRST.format(missing.partition(" (from")[0]), ()
    elif text.startswith("No matching distribution found for "):
        record.msg, record.args = _FURTHER, ()
    elif record.levelno >= logging.ERROR and ("Max retries exceeded" in text or "NewConnectionError" in text):
        record.msg, record.args = NO_NETWORK, ()


def load_ipython_extension(shell) -> None:
    """Say it below an exception that came of it."""
    shell.events.register("post_run_cell", _explain_cell)


def _explain_cell(result) -> None:
    error = result.error_in_exec
    if error is not None and is_about_network(error):
        print(NO_NETWORK, file=sys.stderr)


def is_about_network(error: BaseException | None) -> bool:
    """Whether an exception, or one that it came of, is that nothing can be reached."""
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return False
        # urllib keeps its cause as a reason.
        for one in (error, getattr(error, "reason", None)):
            if isinstance(one, socket.gaierror) or (isinstance(one, OSError) and one.errno in _UNREACHABLE):
                return True
        error = error.__cause__ or error.__context__
    return False
