"""Distinguishes what a person does in a notebook from what an open page does by itself (decision 7).

The proxy asks about each request and each WebSocket message of a client. A person's activity is recognised
positively; the rest is the page's own: polling, autosaving its layout, reconnecting. For the Jupyter protocols we
know what people cause. Of other servers below the notebook (RStudio, dashboards, extensions' own endpoints) we know
nothing, but pages repeat themselves and people do not: there, a message that was not seen lately is a person's.

Pure but for `Familiar`, which remembers what one session's clients sent. All input is hostile: what is kept of it is
bounded, and misreading it only makes a session end earlier or later, at `cull_max` at the latest.
"""

from __future__ import annotations

import enum
import re
import zlib

# --- Requests


class Rule(enum.Enum):
    """When a request counts as a person's activity. A refused one never does."""

    NEVER = enum.auto()
    ALWAYS = enum.auto()
    NEW = enum.auto()  # unless the session's clients sent its like lately
    CHANGED = enum.auto()  # if its body differs from the last one's to the same place


# Creating, renaming, starting, interrupting and deleting: pages do so only when a person orders it.
_ORDERS = (b"api/contents", b"api/kernels", b"api/sessions", b"api/terminals")

# What pages also write by themselves; the body tells whether anything is new.
_SAVED = (b"api/contents/", b"api/sessions/", b"lab/api/settings/")

# Where pages save their layout: JupyterLab every 10 s, touched or not.
_LAYOUT = (b"lab/api/workspaces",)

# What JupyterLab reads on its own account and what no kernel notices. Other calls may reach into kernels
# (jupyter-resource-usage asks each for its memory), so what a kernel says right after one proves nothing.
_HARMLESS = re.compile(
    rb"(?:api)?/?|(?:api/(?:contents|events|kernels|kernelspecs|me|sessions|status|terminals)"
    rb"|edit|files|kernelspecs|lab|notebooks|static|terminals|tmpnb|tree)(?:/.*)?",
    re.DOTALL,
)

_QUIET_QUERY = re.compile(rb"(?:^|&)no_track_activity(?:=|&|$)")
_WITHOUT_CONTENT = re.compile(rb"(?:^|&)content=0(?:&|$)")

# Counters, times, and the ids of sessions and messages: what differs in what is otherwise the same.
_NUMBERS = b"0123456789abcdefABCDEF-"
_MOST_COMPARED = 64 * 1024

_REQUESTS_KEPT = 64
_MESSAGES_KEPT = 24


def rule(method: bytes, path: bytes, query: bytes, *, navigates: bool, by_hand: bool) -> Rule:
    """The rule for a request.

    `path` is raw and below the base path ("api/contents/x.ipynb"), `query` is raw too. `navigates`: a browser
    loads a page with it; `by_hand`: it says that its user asked for it. Any value of `no_track_activity`
    counts, as in Jupyter Server's own `update_api_activity`.
    """
    path = path.removeprefix(b"/")
    if method in (b"OPTIONS", b"HEAD") or _QUIET_QUERY.search(query) or path.startswith(_LAYOUT):
        return Rule.NEVER
    if method == b"GET":
        if by_hand:
            return Rule.ALWAYS
        opens = path.startswith(b"api/contents/") and not _WITHOUT_CONTENT.search(query)
        return Rule.NEW if navigates or opens else Rule.NEVER
    if method in (b"PUT", b"PATCH") and path.startswith(_SAVED):
        return Rule.CHANGED
    return Rule.ALWAYS if path.startswith(_ORDERS) else Rule.NEW


def may_reach_kernels(path: bytes) -> bool:
    """Whether a request that no person caused may cause output of a kernel right afterwards."""
    return _HARMLESS.fullmatch(path.removeprefix(b"/")) is None


class Familiar:
    """Digests of what a session's clients sent lately, a bounded number of each kind."""

    __slots__ = ("_bodies", "_messages", "_requests")

    def __init__(self) -> None:
        self._requests: dict[int, int] = {}
        self._messages: dict[int, int] = {}
        self._bodies: dict[int, int] = {}

    def is_new_request(self, request: int) -> bool:
        """Whether no such request came lately."""
        return _put(self._requests, request, 0, _REQUESTS_KEPT) is None

    def is_new_message(self, start: bytes) -> bool:
        """Whether no such message came lately, numbers and ids aside; `start` is its beginning."""
        text = start.translate(None, _NUMBERS)
        return bool(text) and _put(self._messages, hash(text), 0, _MESSAGES_KEPT) is None

    def is_changed(self, place: int, body: int) -> bool:
        """Whether another body than this one was sent to this place last, or none."""
        return _put(self._bodies, place, body, _REQUESTS_KEPT) != body


def _put(kept: dict[int, int], key: int, value: int, most: int) -> int | None:
    """Make `key` the newest entry. Returns its previous value."""
    before = kept.pop(key, None)
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
    return before


class Attempt:
    """A request that is a person's activity if it is not refused and if its body says so."""

    __slots__ = ("_compared", "_digest", "_familiar", "_place", "_rule")

    def __init__(self, rule: Rule, familiar: Familiar, method: bytes, path: bytes) -> None:
        self._rule = rule
        self._familiar = familiar
        self._place = hash((method, path))
        self._digest = 0
        self._compared = 0

    def feed(self, part: bytes) -> None:
        """A part of the body, in order. The cost is that of a checksum."""
        if self._rule is Rule.CHANGED:
            self._digest = zlib.crc32(part, self._digest)
        elif self._rule is Rule.NEW and self._compared < _MOST_COMPARED:
            self._compared += len(part)
            self._digest = zlib.crc32(part[:_MOST_COMPARED].translate(None, _NUMBERS), self._digest)

    def is_persons(self) -> bool:
        """Whether it was a person's. Call it once, when the request was answered and not refused."""
        if self._rule is Rule.CHANGED:
            return self._familiar.is_changed(self._place, self._digest)
        return self._rule is Rule.ALWAYS or self._familiar.is_new_request(hash((self._place, self._digest)))


# --- WebSocket messages


class Channel(enum.Enum):
    """What a WebSocket is for."""

    KERNEL = enum.auto()
    TERMINAL = enum.auto()
    DOCUMENT = enum.auto()  # edited together (jupyter-collaboration)
    OTHER = enum.auto()


_KERNEL_PATH = re.compile(rb"/?api/kernels/[^/]+/channels")

# Jupyter's messaging, "Messages on the shell (ROUTER/DEALER) channel". Clients send kernel_info, comm_info, history
# and debug requests by themselves when they connect, and extensions send requests of their own on a timer.
_PERSONS_MESSAGES = frozenset((b"complete_request", b"inspect_request", b"is_complete_request", b"input_reply"))
_MESSAGE_TYPE = re.compile(rb'"msg_type"\s*:\s*"(\w+)"')
# Code that is to leave no trace is a tool's: a variable inspector's, a dashboard's that looks for its client.
_BY_A_TOOL = re.compile(rb'"silent"\s*:\s*true|"store_history"\s*:\s*false')
# ipywidgets asks for the state of all widgets whenever it is connected.
_ASKS_FOR_STATE = re.compile(rb'"method"\s*:\s*"request_states?"')

_STDIN = re.compile(rb'\s*\[\s*"stdin"\s*,\s*"')
# What a terminal (xterm.js) answers by itself to a program's, or a replayed, question: which terminal it is, where
# the cursor is, whether it has the focus, its colours (ECMA-48; xterm's "Control Sequences"). As JSON spells it.
_ESC = rb"\\u001[bB]"
_REPLIES = re.compile(
    rb"(?:%b\[(?:[?>=]?[\d;]*(?:\$y|[cnRt])|[IO])|%b[\]P][^\"\\]*(?:\\u0007|%b\\\\))+" % (_ESC, _ESC, _ESC)
)

_DOCUMENT_UPDATE = b"\x00\x02"  # y-protocols: sync, update; not the exchange of states, nor who is looking


def channel(path: bytes) -> Channel:
    """What a WebSocket at this raw path below the base path is for."""
    path = path.removeprefix(b"/")
    if _KERNEL_PATH.fullmatch(path):
        return Channel.KERNEL
    if path.startswith(b"terminals/websocket/"):
        return Channel.TERMINAL
    return Channel.DOCUMENT if path.startswith(b"api/collaboration/room/") else Channel.OTHER


# "Messages on the IOPub channel": what a cell shows. The reply to a request to run one ends what shows nothing.
_OUTPUT = frozenset((b"stream", b"display_data", b"execute_result", b"error", b"execute_reply"))


def runs_code(start: bytes) -> bool:
    """Whether a person's message to a kernel, which begins like this, has it run code."""
    return b"execute_request" in _MESSAGE_TYPE.findall(start)


def output_in(start: bytes) -> str:
    """What a kernel's message shows, if anything: the first type of message in it that is output."""
    return next((kind.decode() for kind in _MESSAGE_TYPE.findall(start) if kind in _OUTPUT), "")


def is_persons_message(channel: Channel, start: bytes, familiar: Familiar, *, whole: bool) -> bool:
    """Whether a client's message is a person's activity; `start` is its beginning, or all of it."""
    if channel is Channel.KERNEL:
        return _is_persons_kernel_message(start, whole=whole)
    if channel is Channel.TERMINAL:
        typed = _STDIN.match(start)
        return typed is not None and _REPLIES.fullmatch(start[typed.end() :].rstrip(b'"] \t\r\n')) is None
    if channel is Channel.DOCUMENT:
        return start.startswith(_DOCUMENT_UPDATE)
    return familiar.is_new_message(start)


def _is_persons_kernel_message(start: bytes, *, whole: bool) -> bool:
    """In any of the protocols: they differ in what is around the JSON. Quotes inside of strings are escaped there."""
    kinds = set(_MESSAGE_TYPE.findall(start))
    if b"execute_request" in kinds:
        return _BY_A_TOOL.search(start) is None
    if b"comm_msg" in kinds:
        return _ASKS_FOR_STATE.search(start) is None
    # A header that comes after a long content: what clients send by themselves is short.
    return bool(kinds & _PERSONS_MESSAGES) or (not kinds and not whole)
