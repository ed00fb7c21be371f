"""Every URL of this service: how it is made, and how the target of a request is read. Pure.

Nobody else knows where on a host things are: pages, API and engines take their URLs from here, the proxy learns here
which notebook a request is for. All are below the base (`--base-url`), which is put before them and taken away in
this place only. Documents in a notebook have paths of their own below its base path: see `document_paths`.

A notebook's base path is part of what its container was started with: its server answers below that path and no
other. So a container keeps the base that it has, whatever the service is started with later.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from typing import NamedTuple

ROOT = "/"
# What our own application finds at which path, without the base, which it never sees.
API = "/api/"
BUILD = "/build/"
CLASS = "/class/"
ENTER = "/enter"  # under a notebook's own host: where a browser is let in
LAUNCH_LINK = "/v2/"  # BinderHub's
SESSIONS = "/user/"
SPAWN = "/spawn"
STATIC = "/static/"
TEACH = "/teach/"
WORKSHOPS = "/workshops"
NOT_FOR_ROBOTS = (SPAWN, SESSIONS, API, BUILD, LAUNCH_LINK, CLASS, TEACH, "/hub/")
SESSION_ROUTE = SESSIONS + "{id}"  # of a notebook, in a trace
# Patterns for aiohttp's router.
SESSION_PATTERN = SESSIONS + "{id:[a-z0-9]+}{tail:(/.*)?}"
SPAWN_PATTERN = SPAWN + "{path:(/.*)?}"
WAITING_PATTERN = SPAWN + "/wait/{id:[0-9a-f]{32}}"
CLASS_PATTERN = CLASS + "{key:[0-9a-f]{32}}"
TEACH_PATTERN = TEACH + "{key:[0-9a-f]{32}}"
STATIC_PATTERN = STATIC + "{digest:[0-9a-f]{32}}/{name:.+}"

_SEGMENT = r"(?!\.\.?/)[A-Za-z0-9._-]+"
_BASE = re.compile(rf"/(?:{_SEGMENT}/){{0,8}}")


def is_base(text: str) -> bool:
    """Whether this can be the base of URLs: `/`, or plain names with a slash on both sides.

    None of them is `user`: where a notebook's id is in a path must be unambiguous.
    """
    return _BASE.fullmatch(text) is not None and len(text) <= 200 and SESSIONS not in text


def session(base: str, container_id: str) -> str:
    """The path below which a notebook's server answers, with both slashes."""
    return f"{base[:-1]}{SESSIONS}{container_id}/"


def entered(origin: str, code: str) -> str:
    """Where a browser is let in under a notebook's own host, once, by this code."""
    return f"{origin}{ENTER}?code={code}"


def opened(session_path: str, target: str, token: str) -> str:
    """A document in a notebook, with the token that lets its visitor's browser in."""
    url = session_path + target
    return f"{url}{'&' if '?' in target else '?'}token={token}" if token else url


@dataclasses.dataclass(frozen=True, slots=True)
class Links:
    """The URLs of the service's own pages. `base` is the path of the first page, with both slashes.

    On a page under a notebook's own host it is a whole URL: the service is elsewhere.
    """

    base: str = ROOT

    @property
    def is_elsewhere(self) -> bool:
        """Whether the service's pages are on another host, which takes no form of this one's."""
        return not self.base.startswith("/")

    def seen_from(self, origin: str) -> Links:
        """The same for a page on another host; `origin` is that of the main host."""
        return Links(origin + self.base)

    def on(self, host_url: str) -> str:
        """The first page on a host, whose URL ends in a slash."""
        return host_url + self.base.removeprefix("/")

    def to(self, path: str) -> str:
        """Any page or file, by its path below the base."""
        return self.base + path

    def launch(self, wish: str = "") -> str:
        """The launch page of a document; `wish` is its path as a link has it."""
        return self.launch_at(f"/{wish}" if wish else "")

    def launch_at(self, rest: str) -> str:
        """The launch page with what follows its name: a path with its slash, a query, or both."""
        return self._at(SPAWN + rest)

    def launch_of(self, wish: str = "") -> str:
        """The same with the wish as a parameter, which may hold anything."""
        return self.launch_at(f"?urlpath={_quoted(wish)}" if wish else "")

    def waiting(self, ticket_id: str, wish: str = "") -> str:
        """Where a ticket's visitor waits; the wish is in it for the case that the place is lost."""
        return self.launch_at(f"/wait/{ticket_id}") + (f"?path={_quoted(wish)}" if wish else "")

    def for_class(self, key: str) -> str:
        """Where a class gets its notebooks; the key is a secret."""
        return self._at(CLASS + key)

    def for_teacher(self, key: str) -> str:
        """The page of a class's teacher; its key is another secret."""
        return self._at(TEACH + key)

    def notes(self, slug: str) -> str:
        """A workshop to read."""
        return self._at(f"{WORKSHOPS}/{slug}/")

    def static(self, digest: str) -> str:
        """Where the shared static files of an image are, without a slash at the end."""
        return self._at(STATIC + digest)

    def launch_link(self, build_path: str) -> str:
        """BinderHub's link for people, by the path that programs post to: `/build/<provider>/<spec>`."""
        return self._at(LAUNCH_LINK + build_path.removeprefix(BUILD))

    def _at(self, path: str) -> str:
        return self.base[:-1] + path


def _quoted(wish: str) -> str:
    return urllib.parse.quote(wish, safe="")


# --- reading the target of a request

_ROOT = ROOT.encode()
_SESSIONS = SESSIONS.encode()
_SESSION = re.compile(rb"/*%b([a-z0-9]{1,64})(/[^?]*)?(?:\?(.*))?" % _SESSIONS[1:], re.DOTALL)
_STATIC = re.compile(rb"%b([0-9a-f]{32})/" % STATIC.encode())
_NEEDLESSLY_ENCODED = re.compile(rb"%(3[0-9]|[46][1-9A-Fa-f]|[57][0-9Aa])")


class Route(NamedTuple):
    """A request for the notebook `session_id`.

    `path` is what follows `/user/<id>/`, raw, or None where the slash is missing; `target` is what the container
    gets; `query` is raw and without its question mark; `base` is the base that it is below.
    """

    session_id: str
    path: bytes | None
    query: bytes
    target: bytes
    base: bytes = _ROOT

    def moved_to(self, base_path: bytes) -> bytes:
        """The same target below another base path, for a container that was started with that one."""
        return base_path + self.target[len(self.base) + len(_SESSIONS) + len(self.session_id) :]


class Targets:
    """Reads the raw targets of requests, below every base that a notebook may have.

    What is matched is what is sent: what follows the id is never decoded, normalised or resolved, so there is no
    second reading of it that could lead to another session. `/user/<id>/../<other>` belongs to `<id>`. Only letters
    and digits that are encoded without need are themselves (RFC 3986 §6.2.2.2), up to the id: `/%75ser/<id>/` is
    `/user/<id>/`.
    """

    __slots__ = ("_bases",)

    def __init__(self, base: str = ROOT) -> None:
        # Below the root, too: for a proxy in front that takes the base away, and for probes that know of none.
        self._bases = tuple(dict.fromkeys((base.encode(), _ROOT)))

    def know(self, base: str) -> None:
        """Read below this base, too: a container was started with it, so open pages of its visitor ask there."""
        if base.encode() not in self._bases:
            self._bases += (base.encode(),)

    def match(self, target: bytes) -> Route | None:
        """The notebook that a target is for, or None: everything else is for our own application.

        Of the bases the first that fits counts. Slashes doubled round the base and right after the notebook's own
        (old embedding clients make both) are collapsed.
        """
        if target.startswith(b"//"):
            target = b"/" + target.lstrip(b"/")
        for base in self._bases:
            if target.startswith(base) and (route := _below(target, base)) is not None:
                return route
        return None

    def static_tree(self, target: bytes) -> str:
        """The digest of the shared static files that a target is one of, "" for any other target."""
        found = _STATIC.match(_without(target, self._bases[0]))
        return found[1].decode() if found else ""

    def own(self, target: bytes, route: Route | None) -> bytes:
        """A target as our own application gets it, without the base; `route` is what `match` gave."""
        return _without(target, self._bases[0] if route is None else route.base)


def below_session(path: str) -> str:
    """What follows the id in the raw path of a session's URL, without the base; "" for any other path."""
    route = _below(path.encode(errors="surrogateescape"), _ROOT)
    return "" if route is None or route.path is None else route.path.decode(errors="surrogateescape")


def _below(target: bytes, base: bytes) -> Route | None:
    found = _SESSION.fullmatch(target, len(base))
    if found is None and b"%" in target:
        target = base + _with_plain_prefix(target[len(base) :])
        found = _SESSION.fullmatch(target, len(base))
    if found is None:
        return None
    session_id, path, query = found.group(1), found.group(2), found.group(3) or b""
    if path is not None:
        path = path.lstrip(b"/")
    if b"//" in target:
        target = base + _SESSIONS[1:] + session_id
        target += b"" if path is None else b"/" + path
        target += b"" if found.group(3) is None else b"?" + query
    return Route(session_id.decode(), path, query, target, base)


def _without(target: bytes, base: bytes) -> bytes:
    """Who asks outside of the base has a proxy in front that took it away."""
    return target[len(base) - 1 :] if base != _ROOT and target.startswith(base) else target


def _with_plain_prefix(rest: bytes) -> bytes:
    """What follows a base, with `user` and the id as letters and digits; all else of it is left as it is."""
    path, mark, query = rest.lstrip(b"/").partition(b"?")
    parts = path.split(b"/", 2)
    parts[:2] = [_NEEDLESSLY_ENCODED.sub(lambda found: bytes.fromhex(found[1].decode()), part) for part in parts[:2]]
    return b"/".join(parts) + mark + query
