"""What links may open, and whether their document exists; if not, what to offer instead.

A link from somebody else's notebook may name a document that only exists there. A notebook server is asked: the
visitor's own if the link would open in it, otherwise that of a ready container, which has what every fresh notebook
has. If none is ready, the link is taken as it is.
"""

from __future__ import annotations

import dataclasses
import posixpath
import urllib.parse

from tmpnb_py.core.document_paths import INTERFACES, document, document_of, document_target, needs_network
from tmpnb_py.core.models import State
from tmpnb_py.jupyter.questions import lacks
from tmpnb_py.pools.configuration import has_network
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.pool import Pool
from tmpnb_py.site.offers import Offer, Offers
from tmpnb_py.workshops.manifest import Workshop

_AT_ONCE = 4
_REMEMBERED = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What a link opens. `path` is as the link has it; `document` is its name for people, "" for none.

    `missing` is a document that the link names and that does not exist; then the other fields are what to offer
    instead.
    """

    path: str
    document: str = ""
    workshop: Workshop | None = None
    missing: str = ""


class NoNetworkError(ValueError):
    """A link that cannot work where notebooks have no network."""


class Documents:
    """Reads links, and looks their documents up. Remembers which documents fresh notebooks do not have.

    A wish is a link's path with its query, which may name a pool; what a pool's notebooks can open is for its own
    options and image to say.
    """

    def __init__(self, offers: Offers) -> None:
        self._offers = offers
        self._memory = _Memory()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """What links may open in any pool, by the first part of the path."""
        return tuple(dict.fromkeys(one for offer in self._offers for one in _interfaces(offer)))

    def target(self, wish: str) -> str:
        """What a link opens, below a notebook's base path. "" opens what the operator chose as the start.

        Until the image is known, any interface is accepted. Raises `ValueError`, `UnknownPoolError` for a pool that
        there is not, and `NoNetworkError` for a link that needs the network where notebooks have none.
        """
        offer, wish = self._offers.choose(wish)
        options = offer.options.current
        if not wish:
            return document_target(options.redirect_uri, None)
        target = document_target(wish, None if offer.catalogue.image is None else _interfaces(offer))
        if not has_network(options, shared=offer.shares_network) and needs_network(target):
            raise NoNetworkError("it fetches files over the network, which notebooks here do not have")
        return target

    def openable(self, wish: str) -> str:
        """The wish from a URL if it can be opened, otherwise "", which opens the start."""
        try:
            self.target(wish)
        except ValueError:
            return ""
        return wish

    def read(self, wish: str, languages: str = "") -> Subject:
        """What a link opens, whether or not that exists. Raises `UnknownPoolError`.

        A workshop is called as a reader of these languages prefers (see `Workshop.for_reader`).
        """
        offer, rest = self._offers.choose(wish)
        path, _, query = rest.partition("?")
        if urllib.parse.unquote(path) == "git-pull":
            return Subject(wish, next(iter(urllib.parse.parse_qs(query).get("repo", [])), ""))
        document = document_of(path)
        workshops = offer.catalogue.manifest.workshops
        found = next((one for one in workshops if one.start == document.rstrip("/")), None)
        return Subject(wish, document, None if found is None else found.for_reader(languages))

    async def find(self, wish: str, container: Container | None = None, languages: str = "") -> Subject:
        """What a link opens; if its document does not exist, the workshop of its folder instead.

        `container` is the visitor's own notebook, if the link would open in that. Raises `UnknownPoolError`.
        """
        asked = self.read(wish, languages)
        if not asked.document or (asked.workshop and container is None) or wish.startswith("git-pull"):
            return asked
        offer, _ = self._offers.choose(wish)
        if not await self._is_missing(offer.pool, asked.document, container):
            return asked
        workshop = _nearest(offer, asked.document)
        path = "" if workshop is None else document(workshop.start)
        told = None if workshop is None else workshop.for_reader(languages)
        return Subject(self._offers.wish_for(offer, path), workshop=told, missing=asked.document)

    async def _is_missing(self, pool: Pool, document: str, container: Container | None) -> bool:
        memory = self._memory
        if container is not None:
            return await memory.ask(container, document)
        known = memory.known.get((pool.name, pool.current_digest, document))
        ready = next((one for one in pool.in_state(State.READY) if one.config_digest == pool.current_digest), None)
        if known is not None or ready is None:
            return bool(known)
        missing = await memory.ask(ready, document)
        # Somebody may have got this container meanwhile, and what they delete is missing in theirs only.
        return ready.state is State.READY and memory.note((pool.name, ready.config_digest, document), missing)


def _interfaces(offer: Offer) -> tuple[str, ...]:
    """What links may open in a pool's notebooks, by the first part of the path."""
    image = offer.catalogue.image  # which may declare some, as the operator may
    return (*INTERFACES, *offer.options.current.interfaces, *(() if image is None else image.interfaces))


def _nearest(offer: Offer, document: str) -> Workshop | None:
    folders = [(posixpath.dirname(one.start), one) for one in offer.catalogue.manifest.workshops]
    return next((one for folder, one in folders if folder and document.startswith(f"{folder}/")), None)


class _Memory:
    """What fresh notebooks lack. Bounded, as is the number of questions: anybody can make up links."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str | None, str], bool] = {}
        self._asking = 0

    async def ask(self, container: Container, document: str) -> bool:
        """Whether this notebook lacks the document; False, too, while too many questions are under way."""
        if container.endpoint is None or self._asking >= _AT_ONCE:
            return False
        self._asking += 1
        try:
            return await lacks(container.endpoint, container.path, container.token, document)
        finally:
            self._asking -= 1

    def note(self, key: tuple[str, str | None, str], missing: bool) -> bool:
        """Remember that a document is missing, and return `missing`. Only that: no answer counts as found."""
        if missing:
            self.known[key] = True
            while len(self.known) > _REMEMBERED:
                del self.known[next(iter(self.known))]
        return missing
