"""Which form of a resource a client gets: codings, languages, conditional requests and ranges (RFC 9110). Pure.

Pages, assets, shared static files and the proxy's compression all read `Accept-Encoding`, `Accept-Language` and
`If-None-Match` here.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

IDENTITY = "identity"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  (RFC 9110's word for it)
_WEIGHT = r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?"
_CODING = re.compile(rf"({_TOKEN})(?:[\t ]*;[\t ]*[qQ]=({_WEIGHT}))?")
_RANGE = re.compile(rf"(\*|[A-Za-z]{{1,8}}(?:-[A-Za-z0-9]{{1,8}})*)(?:[\t ]*;[\t ]*[qQ]=({_WEIGHT}))?")
_ENTITY_TAG = re.compile(r'(?:W/)?"[^"]*"')
_PART = re.compile(r"bytes=([0-9]{1,15})-([0-9]{0,15})")
_ALIASES = {"x-gzip": "gzip"}  # §8.4.1.3
_LONGEST_KNOWN = 100  # characters: a client must not be able to fill the memory
_MOST_RANGES = 50  # of languages; browsers send a dozen at most


def accepted_codings(accept_encoding: str) -> Mapping[str, float]:
    """Each content coding that `Accept-Encoding` lists, in lower case, with its weight (§12.5.3, §12.4.2).

    Malformed elements are skipped. The proxy asks for each static file that it passes on, and browsers send few
    different values, so those are remembered: reading one again takes 0.3 µs instead of 8.
    """
    return _known(accept_encoding) if len(accept_encoding) <= _LONGEST_KNOWN else _read(accept_encoding)


def _read(accept_encoding: str) -> Mapping[str, float]:
    weights: dict[str, float] = {}
    for part in accept_encoding.split(","):
        if match := _CODING.fullmatch(part.strip()):
            name = match[1].lower()
            weights[_ALIASES.get(name, name)] = float(match[2] or 1)
    return weights


_known = functools.lru_cache(64)(_read)


def choose_coding(accept_encoding: str, available: Iterable[str]) -> str:
    """The coding to send, or "" for none: the client's highest weight, and among equals the first of `available`.

    Without a coding is what is sent where the client prefers that, and also where it accepts nothing that there is:
    §12.5.3 leaves the server free to, and a readable answer serves people better than 415.
    """
    weights = accepted_codings(accept_encoding)
    anything = weights.get("*", 0.0)
    best, best_weight = "", 0.0
    for coding in available:
        weight = weights.get(coding, anything)
        if weight > best_weight:
            best, best_weight = coding, weight
    return "" if weights.get(IDENTITY, 0.0) > best_weight else best


def choose_language(accept_language: str, available: Sequence[str]) -> str:
    """The language to answer in (§12.5.4): of those that the client accepts the one of the highest weight.

    A range matches as RFC 4647 §3.4 ("lookup") says: "de-AT" is served with "de" where there is nothing nearer. Among
    equal weights the first counts. Who accepts nothing that there is gets the first of `available`: a readable page
    serves people better than 406. Malformed elements are skipped.
    """
    choose = _language if len(accept_language) <= _LONGEST_KNOWN else _choose
    return choose(accept_language, tuple(available))


def _choose(accept_language: str, available: tuple[str, ...]) -> str:
    known = {one.lower(): one for one in available}
    refused: set[str] = set()
    wanted: list[tuple[float, str]] = []
    for part in accept_language.split(",", _MOST_RANGES)[:_MOST_RANGES]:
        if match := _RANGE.fullmatch(part.strip()):
            weight, language = float(match[2] or 1), match[1].lower()
            if weight:
                wanted.append((weight, language))
            else:
                refused.add(language)
    for _, language in sorted(wanted, key=lambda one: -one[0]):
        if language == "*":  # any other: those that are named have their own weights
            named = {one for _, one in wanted} | refused
            found = next((tag for name, tag in known.items() if name not in named), "")
        else:
            found = next((known[one] for one in _shorter(language) if one in known and one not in refused), "")
        if found:
            return found
    return available[0]


_language = functools.lru_cache(256)(_choose)


def _shorter(language: str) -> Iterator[str]:
    """A range, and what is left when its last parts are taken away; a single letter goes with what follows it."""
    parts = language.split("-")
    while parts:
        yield "-".join(parts)
        parts.pop()
        if parts and len(parts[-1]) == 1:
            parts.pop()


def entity_tags(if_none_match: str) -> list[str]:
    """The entity tags of a list, as they stand there (§8.8.3); ["*"] stands for any."""
    return ["*"] if if_none_match.strip() == "*" else _ENTITY_TAG.findall(if_none_match)


def is_not_modified(if_none_match: str, tag: str) -> bool:
    """Whether the client has the representation with this entity tag: weak comparison, as §13.1.2 demands."""
    known = {one.removeprefix("W/") for one in entity_tags(if_none_match)}
    return "*" in known or tag.removeprefix("W/") in known


def wanted_part(wanted: str, if_range: str, tag: str, size: int) -> tuple[int, int] | None:
    """Where the part of a representation begins and ends that a client wants by its `Range`; None for all of it.

    Only by a client that has another part of the same representation: `If-Range` has to name its strong tag
    (§13.1.5). Whatever else may be ignored (§14.2), such as several parts at once. (Chromium asks for a single byte
    before it asks for the rest of what broke off.)
    """
    found = _PART.fullmatch(wanted.strip())
    if found is None or if_range.strip() != tag or not tag.startswith('"'):
        return None
    start, end = int(found[1]), min(size, int(found[2] or size) + 1)
    return (start, end) if start < end else None
