"""What can go wrong, in the words of an operator or a visitor.

Third-party exceptions are translated into these once, in the adapter that meets them; everything above an
adapter knows only these. `remedy` is a sentence that says what to do and is printed below the message.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Iterator


class FailureClass(enum.StrEnum):
    """Why no container becomes ready; the only part of a failure that is shown to the public."""

    IMAGE_MISSING = "image missing"
    EXITS_AT_ONCE = "exits at once"
    NOT_ANSWERING = "does not answer"
    ENGINE_DOWN = "engine down"
    START_REFUSED = "start refused"
    SHORT = "service short of files or memory"


class TmpnbError(Exception):
    """Base of every error that this program raises on purpose."""

    exit_code = 1

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy


def find_known(error: BaseException | None) -> TmpnbError | None:
    """The error that was raised on purpose, also out of a task group, which wraps what its tasks raise."""
    if isinstance(error, TmpnbError):
        return error
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return next(filter(None, map(find_known, inner)), None)


class SettingsError(TmpnbError):
    """An option, environment variable or configuration file is wrong."""

    exit_code = 2


class BookingError(TmpnbError):
    """A booking or a message cannot be taken. A teacher's page says `text` in its language, with its `values`."""

    exit_code = 7

    def __init__(self, text: str, *, remedy: str = "", **values: str) -> None:
        super().__init__(text.format(**values) if values else text, remedy=remedy)
        self.text = text
        self.values = values


class EngineError(TmpnbError):
    """The engine refused or failed; `failure` is its public class."""

    exit_code = 3
    failure = FailureClass.START_REFUSED


class EngineDownError(EngineError):
    """The engine cannot be reached, or did not answer in time."""

    failure = FailureClass.ENGINE_DOWN


class EngineForbiddenError(EngineDownError):
    """The engine's socket exists, but this user may not open it."""


class WrongEngineError(EngineError):
    """What answers is an engine that cannot keep what this program promises. Waiting does not help."""


class ImageMissingError(EngineError):
    """The engine has no such image and cannot pull it."""

    exit_code = 4
    failure = FailureClass.IMAGE_MISSING


class UnprotectedError(EngineError):
    """The engine lacks a protection of visitors or of the host, and the operator has not agreed to go without it."""


LACK_REMEDY = "raise the limit of open files (LimitNOFILE= of the unit, ulimit -n), or lower max_connections"


class LackError(EngineError):
    """This process lacks file descriptors or memory. It says nothing of a container or an engine.

    Raised only where nothing was sent yet, so what was asked for has not happened.
    """

    failure = FailureClass.SHORT


class TooLargeError(EngineError):
    """An image has more to read than is read of one; trying again does not help."""


class NoSuchContainerError(EngineError):
    """The container is not (or no longer) in the engine."""


class ContainerHangsError(EngineError):
    """The engine answers, but not for this container: it may still do what it was asked to."""


class AwayError(ConnectionError):
    """What is dialled is out of reach at present, and most likely lives on: whoever asks is to come again.

    An `OSError`, as all that dialling and connections raise.
    """


class UnavailableError(EngineError):
    """No container can be handed out, for a reason that is known."""

    def __init__(self, message: str, failure: FailureClass) -> None:
        super().__init__(message)
        self.failure = failure


class StartFailedError(EngineError):
    """A container was started and never became ready; `log_lines` are its last words."""

    def __init__(self, message: str, failure: FailureClass, *, log_lines: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.failure = failure
        self.log_lines = log_lines


class ImageBuildError(TmpnbError):
    """An image could not be built."""

    exit_code = 4


class UpgradeError(TmpnbError):
    """Another process could not take this one's place, or the other way round."""


class ListenError(TmpnbError):
    """A listener's address or port cannot be used."""

    exit_code = 5


class PoolLockedError(TmpnbError):
    """Another tmpnb-py process manages this pool."""

    exit_code = 6


class ServiceError(TmpnbError):
    """No service answers on the admin listener, or it did not do what it was asked to."""

    exit_code = 7


class UnfitError(TmpnbError):
    """`doctor` or `timetable` found something that does not work here."""

    exit_code = 8


class ClosedError(TmpnbError):
    """The operator, or its timetable, lets no newcomers into a pool."""

    def __init__(self, message: str, *, pool: str = "") -> None:
        super().__init__(message)
        self.pool = pool


class FullError(TmpnbError):
    """No container is ready, and the caller does not wait (or waited long enough)."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class LineFullError(FullError):
    """The waiting line is full."""


class AddressFullError(FullError):
    """The visitor's address has the most notebooks that one address may have."""


class ManifestError(TmpnbError):
    """A workshops' manifest, or the folder that it describes, is wrong."""

    exit_code = 4


class ImageTransferError(TmpnbError):
    """An image could not be loaded from a file or an address, or written to a file."""

    exit_code = 4


class ImageUnfitError(TmpnbError):
    """`image check` found that an image cannot serve visitors."""

    exit_code = 4


class NotesError(TmpnbError):
    """A workshop's notebook cannot be shown as a page."""

    exit_code = 4


_NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE})
_NO_ROOM = _NO_DESCRIPTOR | {errno.ENOMEM, errno.ENOBUFS}


def is_our_lack(error: BaseException, *, unsent: bool = False) -> bool:
    """Whether an error comes from what this process lacks (descriptors, memory), whatever wraps it.

    `unsent`: count only what happens before a connection exists, so that nobody can have been asked anything.
    """
    wanted = _NO_DESCRIPTOR if unsent else _NO_ROOM
    return any(isinstance(one, OSError) and one.errno in wanted for one in causes(error))


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, what aiohttp wraps in it, and what it came from; the innermost, which says most, comes first."""
    found: list[BaseException] = []
    pending = [error]
    while pending:
        one = pending.pop()
        if one is None or one in found:
            continue
        found.append(one)
        inner = getattr(one, "os_error", None)
        pending += [inner if isinstance(inner, BaseException) else None, one.__cause__, one.__context__]
    return reversed(found)
