"""What pages of other sites may do (Fetch standard, "CORS protocol"). Pure; asked by the proxy and by the web layer.

Below `/user/` two things count: that the operator allows the page's origin, and that the request shows the session's
token (`Authorization`, or `?token=` for WebSockets, which carry no headers of a page's own). A cookie never counts:
those of a cross-origin request go no further than this, and none is set by its answer.
"""

from __future__ import annotations

import dataclasses
import secrets
import urllib.parse

from tmpnb_py.core.proofs import is_same
from tmpnb_py.options.settings import Settings

Headers = list[tuple[bytes, bytes]]

NOTEBOOK_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"

# A request that shows the token is no forgery, whatever the browser adds to it. Servers that demand no token compare
# these instead: the origin with their host, and the XSRF cookie with its header (Tornado's double submit).
_OF_A_BROWSER = frozenset((b"origin", b"referer", b"cookie", b"x-xsrftoken", b"x-csrftoken"))


@dataclasses.dataclass(frozen=True, slots=True)
class Cors:
    """Which other sites' pages may use this service from a browser, and how.

    `origins` empty: none; `"*"` in it: all. The other values go into their headers as they are. `tokenless` are those
    whose pages need not show the token of a notebook that they claimed themselves (clients of the old tmpnb).
    """

    origins: frozenset[str] = frozenset()
    methods: str = ""
    headers: str = ""
    expose: str = ""
    credentials: bool = False
    max_age: int | None = None
    tokenless: frozenset[str] = frozenset()

    @classmethod
    def of(cls, settings: Settings) -> Cors:
        """What the options allow."""
        return cls(
            origins=frozenset(settings.allow_origin + settings.tokenless_origin),
            tokenless=frozenset(settings.tokenless_origin),
            methods=settings.allow_methods or "",
            headers=settings.allow_headers or "",
            expose=settings.expose_headers or "",
            credentials=settings.allow_credentials,
            max_age=None if settings.max_age is None else int(settings.max_age),
        )

    def allows(self, origin: str) -> bool:
        """Whether a page of this origin may use the service."""
        return "*" in self.origins or origin in self.origins

    def answer_headers(self, origin: str) -> list[tuple[str, str]]:
        """What an answer to a page of this origin carries; for an origin that is not allowed only `Vary`."""
        if not self.origins:
            return []
        everybody = "*" in self.origins
        headers = [] if everybody else [("Vary", "Origin")]
        if not everybody and origin not in self.origins:
            return headers
        headers.append(("Access-Control-Allow-Origin", "*" if everybody else origin))
        if self.credentials and not everybody:
            headers.append(("Access-Control-Allow-Credentials", "true"))
        if self.expose:
            headers.append(("Access-Control-Expose-Headers", self.expose))
        return headers

    def preflight_headers(self, methods: str, headers: str) -> list[tuple[str, str]]:
        """What an answer to a preflight carries besides; `methods` and `headers` where the operator says nothing."""
        answer = [
            ("Access-Control-Allow-Methods", self.methods or methods),
            ("Access-Control-Allow-Headers", self.headers or headers),
        ]
        if self.max_age is not None:
            answer.append(("Access-Control-Max-Age", str(self.max_age)))
        return answer


def is_foreign(origin: bytes, host: bytes, *, secure: bool = False) -> bool:
    """Whether a page of this origin is another site's than the host that it asks.

    Whoever is between can make a page of the same host that came without TLS, so that is another one where TLS is
    known of. The reverse is not asked: proxies in front say `http` of what one before them has had over TLS.
    """
    scheme, _, authority = origin.partition(b"://")
    return authority.lower() != host.lower() or (secure and scheme.lower() == b"http")


def shows_token(headers: Headers, query: bytes, token: str) -> bool:
    """Whether a request carries this token, in either of the places where Jupyter looks for it."""
    shown: list[str] = []
    for name, value in headers:
        if name.lower() == b"authorization":
            scheme, _, rest = value.decode("latin-1").partition(" ")
            if scheme.lower() in ("token", "bearer"):
                shown.append(rest.strip())
    if b"token=" in query:
        pairs = urllib.parse.parse_qsl(query.decode("latin-1"), max_num_fields=None)
        shown += [value for name, value in pairs if name == "token"]
    return any(is_same(one, token) for one in shown)


def without_cookie(headers: Headers) -> Headers:
    """What a notebook gets of an allowed page's request that shows no token: all but the visitor's cookies."""
    return [(name, value) for name, value in headers if name.lower() != b"cookie"]


def admitted(headers: Headers, token: str = "") -> Headers:
    """What a notebook gets of an allowed page's request that may use it; with a token the proxy shows that itself."""
    dropped = _OF_A_BROWSER | {b"authorization"} if token else _OF_A_BROWSER
    kept = [(name, value) for name, value in headers if name.lower() not in dropped]
    if token:
        kept.append((b"Authorization", b"token " + token.encode()))
    xsrf = secrets.token_hex(16).encode()
    return [*kept, (b"Cookie", b"_xsrf=" + xsrf), (b"X-XSRFToken", xsrf)]


def without_set_cookie(headers: Headers) -> Headers:
    """What an allowed page gets of an answer: no cookie is set on another site's behalf."""
    return [(name, value) for name, value in headers if name.lower() != b"set-cookie"]
