"""Which names this service answers to, and which of them are notebooks' own. Asked once per request. Pure.

A web page can point a name of its own at our address and then speaks to us as our own page does, also where only an
internal network reaches us (DNS rebinding). What it cannot forge is the `Host` that the browser sends with it. So a
name is answered to only if nobody else can own it: an IP address (browsers look nothing up for it), a loopback name
(RFC 6761 §6.3), a name of this machine, or one that the operator allows.

With `--session-host` each notebook has a host of its own, and so a web origin of its own: `{name}` in it is the
notebook's *session name*. Resolvers and TLS handshakes show it, so it is random, neither id nor token follow from it,
and knowing it opens nothing.

Browsers keep files by the site of the page (its registrable domain) and by their URL. So all notebooks' pages get the
static files that they share from one more host below that domain, which the same wildcard covers. It is asked for
nothing else, and is no notebook's and not the main one.
"""

from __future__ import annotations

import dataclasses
import functools
import ipaddress
import itertools
import re
import secrets
import string
from collections.abc import Iterable

EVERY_NAME = "*"
_LOOPBACK = "localhost"
_REMEMBERED = 1024  # requests' hosts whose verdict is kept; a stranger can send any number of them

_NAME_LENGTH = 20  # with a letter first: 103 bits, in one label of a host name (RFC 1035 §2.3.1)
_SESSION_NAME = re.compile(r"[a-z][a-z0-9]{19}")
PLACEHOLDER = "{name}"
FILES = "tmpnb-static"  # in a session name's place, which never has a hyphen

# The port may be empty (RFC 3986 §3.2.3).
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{0,5})?")


def new_session_name() -> str:
    """A random session name."""
    others = (secrets.choice(string.ascii_lowercase + string.digits) for _ in range(_NAME_LENGTH - 1))
    return secrets.choice(string.ascii_lowercase) + "".join(others)


def session_name(text: str) -> str:
    """A session name as an engine's record has it; "" for anything else."""
    return text if _SESSION_NAME.fullmatch(text) else ""


@dataclasses.dataclass(frozen=True, slots=True)
class SessionHosts:
    """The hosts of notebooks: each is a session name before `domain`. `port` is 0 where it is the main host's."""

    domain: str
    port: int = 0

    @classmethod
    def of(cls, pattern: str) -> SessionHosts | None:
        """What an option such as `{name}.nb.example.net:8443` says; None for ""."""
        domain, _, port = pattern.removeprefix(PLACEHOLDER + ".").partition(":")
        return cls(domain, int(port or 0)) if pattern else None

    def name_in(self, host: str) -> str:
        """The session name of a host, which has no port, or `FILES`; "" where it is neither."""
        first, _, rest = host.partition(".")
        return (first if first == FILES else session_name(first)) if rest == self.domain else ""

    def has(self, host: str) -> bool:
        """Whether a host is below the notebooks' domain, or the domain itself."""
        return host == self.domain or host.endswith("." + self.domain)

    def shared_with(self, host: str) -> str:
        """The domain that notebooks' hosts and this one are below; "" where the pages of both are different sites.

        Notebooks can make cookies for it (RFC 6265 §5.3, step 5). Which suffixes are public, so that nobody can,
        only a list says: a last label alone is taken for one, two are not, though `co.uk` is one.
        """
        pairs = zip(reversed(self.domain.split(".")), reversed(host.split(".")), strict=False)
        common = [one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs)]
        return ".".join(reversed(common)) if len(common) > 1 else ""

    def authority(self, name: str, main: str) -> str:
        """Host and port of a notebook; `main` is the authority that its visitor knows the service by."""
        port = str(self.port or "") or port_of(main)
        return f"{name}.{self.domain}" + (f":{port}" if port else "")


class Hosts:
    """The names that are answered to, whatever their port and case."""

    def __init__(self, allowed: Iterable[str] = (), own: Iterable[str] = (), session_host: str = "") -> None:
        """`allowed` are the operator's, each a name, `*.example.net` or `*`; `own` are this machine's.

        `session_host` is what notebooks' own hosts look like, "" where they have none.
        """
        self.allowed = tuple(allowed)
        self.sessions = SessionHosts.of(session_host)
        self._names = frozenset(normal(name) for name in (*self.allowed, *own))
        self._parents = tuple(name.removeprefix("*") for name in self._names if name.startswith("*."))
        # One per object: a reload makes another, which knows nothing of this one's verdicts.
        self.answer_to = functools.lru_cache(_REMEMBERED)(self._answer_to)
        self.session_of = functools.lru_cache(_REMEMBERED)(self._session_of)
        self.files_host = functools.lru_cache(_REMEMBERED)(self._files_host)

    def _answer_to(self, hosts: tuple[bytes, ...]) -> bool:
        """Whether each of a request's hosts is a name of ours: `Host`, and what a trusted proxy says it was."""
        return all(map(self.knows, hosts)) and len(self._named(hosts)) < 2

    def _session_of(self, hosts: tuple[bytes, ...]) -> str:
        """The session name that a request's hosts name, or `FILES`; "" where it was sent to the main host.

        One of them is enough: whoever can add another host to a request must not make it one to the main host, which
        may do more. Two different ones are not answered to.
        """
        return next(iter(self._named(hosts)), "") if self.sessions is not None else ""

    def _files_host(self, hosts: tuple[bytes, ...]) -> bytes:
        """Host and port of the shared files, for a page under a notebook's host; b"" where that has them itself.

        Below a top-level domain, such as `localhost`, each notebook is a site of its own: nothing would be saved.
        """
        sessions = self.sessions
        if sessions is None or "." not in sessions.domain or f"{FILES}.{sessions.domain}" in self._names:
            return b""
        known = next((host.decode() for host in hosts if self._session(name_of(host.decode("latin-1")))), "")
        return sessions.authority(FILES, known).encode() if known else b""

    def _named(self, hosts: tuple[bytes, ...]) -> set[str]:
        return {name for host in hosts if (name := self._session(name_of(host.decode("latin-1"))))}

    def _session(self, name: str) -> str:
        return "" if self.sessions is None or name in self._names else self.sessions.name_in(name)

    def knows(self, host: bytes) -> bool:
        """Whether a host, with or without its port, is a name of ours."""
        if not is_authority(host):
            return False
        name = name_of(host.decode("latin-1"))
        if name in self._names or self._session(name):
            return True
        if self.sessions is not None and self.sessions.has(name) and name != _LOOPBACK:
            return False  # a notebook's page can make cookies for it, so no page of ours is there
        return (
            EVERY_NAME in self._names or is_loopback_name(name) or _is_address(name) or name.endswith(self._parents)
        )

    def is_main(self, host: bytes) -> bool:
        """Whether a host is ours and no notebook's."""
        return self.knows(host) and not self._session(name_of(host.decode("latin-1")))


def hosts_of(host: Iterable[bytes], forwarded_host: Iterable[bytes]) -> tuple[bytes, ...]:
    """What a request says that it was sent to: `Host`, and each name that proxies in front have seen.

    All of them have to be ours: a proxy may hand through an `X-Forwarded-Host` that a page has written itself. A
    client that names no host at all (HTTP/1.0) is no browser.
    """
    names = (*host, *(one.strip() for value in forwarded_host for one in value.split(b",")))
    return tuple(name for name in names if name)


def is_authority(host: bytes) -> bool:
    """Whether this is a host with or without a port, of which a URL can be made: it has no user's name, say."""
    return _AUTHORITY.fullmatch(host) is not None


def normal(name: str) -> str:
    """A name as browsers send it: in lower case, without the root's dot."""
    return name.lower().removesuffix(".")


def name_of(host: str) -> str:
    """The name or address in a `Host` (RFC 9110 §7.2), without its port; an IPv6 address without brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return normal(host.partition(":")[0])


def port_of(host: str) -> str:
    """The port in a `Host`; "" where it names none."""
    return host.rpartition("]")[2].partition(":")[2]


def is_loopback_name(name: str) -> bool:
    """Whether browsers take this name for their own machine, whatever DNS says of it."""
    return name == _LOOPBACK or name.endswith("." + _LOOPBACK)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
