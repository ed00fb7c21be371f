"""Chooses the workshop for a client of BinderHub, which names a repository: ours are in the image already. Pure.

Sources: BinderHub's documentation of its API (`/build/<provider>/<spec>`) and what thebe makes of its options.
"""

from __future__ import annotations

import dataclasses
import re
import urllib.parse
from collections.abc import Collection, Iterable, Mapping

ANY = "*"
_MAX_LENGTH = 1000
_PROVIDER = re.compile(r"[a-z0-9_-]{1,40}")
_SLUG, _POOL = r"[a-z0-9]+(?:-[a-z0-9]+)*", r"@[a-z0-9][a-z0-9_-]{0,31}"
_RULE = re.compile(rf"(\*|[a-z0-9_-]{{1,40}}/[^\s,=]+)(?:=(?=.)(?:{_SLUG})?(?:{_POOL})?)?")


@dataclasses.dataclass(frozen=True, slots=True)
class Spec:
    """What is asked for: `gh`, `org/repo`, `main`."""

    provider: str
    repo: str
    ref: str

    def __str__(self) -> str:
        return f"{self.provider}/{self.repo}" + (f"/{self.ref}" if self.ref else "")


def read(provider: str, raw: str) -> Spec:
    """Read a spec from a raw path. Raises `ValueError`.

    Where the repository is one percent-encoded part (`git`, `gl`), it is the first; else the first two.
    """
    parts = [urllib.parse.unquote(part, errors="strict") for part in raw.strip("/").split("/")]
    size = 1 if "/" in parts[0] else 2
    repo = "/".join(parts[:size]).strip("/").removesuffix(".git")
    ref = "/".join(parts[size:])
    if not _PROVIDER.fullmatch(provider) or not repo or "" in parts or len(raw) > _MAX_LENGTH:
        raise ValueError("is not <provider>/<repository>/<ref>")
    if not (repo + ref).isprintable():
        raise ValueError("has characters that no repository's name has")
    return Spec(provider, repo, ref)


def read_rule(text: str) -> str:
    """Check one rule of the operator's: `gh/org/repo`, `gh/org/repo/ref` or `*`, with `=workshop` or without.

    `@pool` after that names one of several pools.
    """
    if not _RULE.fullmatch(text):
        raise ValueError(f'holds "{text}", which is not a repository: write gh/org/repo or gh/org/repo=workshop')
    return text


def rules(texts: Iterable[str]) -> dict[str, str]:
    """The operator's rules as `choose` takes them: what follows `=` for each spec, "" for nothing in particular."""
    pairs = (text.partition("=") for text in texts)
    return {spec.casefold(): workshop for spec, _, workshop in pairs}


def choose(spec: Spec, known: Mapping[str, str], workshops: Collection[str]) -> str | None:
    """The workshop's slug, "" for none in particular, with `@pool` where the rule says so; None where nothing fits.

    In order: the operator's rules, the workshop with the repository's name, that with the ref's, the rule `*`.
    """
    for key in (f"{spec.provider}/{spec.repo}/{spec.ref}", f"{spec.provider}/{spec.repo}"):
        if key.casefold() in known:
            return known[key.casefold()]
    for name in (spec.repo.rpartition("/")[2], spec.ref):
        if name.casefold() in workshops:
            return name.casefold()
    return known.get(ANY)
