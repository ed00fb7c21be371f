"""Reports at once that a notebook has no network, instead of the consequences. Imported by pip and IPython.

Without it pip tries five times and then says that the package does not exist, and Python prints three pages about
name resolution. The service sets TMPNB_EGRESS; this module is only imported if that is "none".
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
    """Make pip give up at the first attempt and tell why. Files and directories can still be installed."""
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
    """Replace pip's known messages about the consequences by the reason."""
    text = record.getMessage()
    before, found, missing = text.partition("that satisfies the requirement ")
    if found and before.startswith("Could not find a version"):
        record.msg, record.args = _FIRST.format(missing.partition(" (from")[0]), ()
    elif text.startswith("No matching distribution found for "):
        record.msg, record.args = _FURTHER, ()
    elif record.levelno >= logging.ERROR and ("Max retries exceeded" in text or "NewConnectionError" in text):
        record.msg, record.args = NO_NETWORK, ()


def load_ipython_extension(shell) -> None:
    """Add the reason below an exception that it caused."""
    shell.events.register("post_run_cell", _explain_cell)


def _explain_cell(result) -> None:
    error = result.error_in_exec
    if error is not None and is_about_network(error):
        print(NO_NETWORK, file=sys.stderr)


def is_about_network(error: BaseException | None) -> bool:
    """Whether an exception, or one of its causes, means that nothing can be reached."""
    for _ in range(_LONGEST_CHAIN):
        if error is None:
            return False
        # urllib stores its cause as `reason`.
        for one in (error, getattr(error, "reason", None)):
            if isinstance(one, socket.gaierror) or (isinstance(one, OSError) and one.errno in _UNREACHABLE):
                return True
        error = error.__cause__ or error.__context__
    return False
