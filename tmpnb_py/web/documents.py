"""Whether a document is where a link opens it, and what to say of one that is in somebody else's notebook only.

A notebook's own server knows: the visitor's, where it would open there, else one that is ready and nobody's yet,
which has what every fresh notebook has. With none ready nobody can say, and the link is taken as it is.
"""

from __future__ import annotations

import dataclasses
import posixpath
import urllib.parse

from tmpnb_py.core.document_paths import INTERFACES, document, document_of, document_target, needs_network
from tmpnb_py.core.models import State
from tmpnb_py.jupyter.questions import lacks
from tmpnb_py.options.live import LiveOptions
from tmpnb_py.pools.configuration import has_network
from tmpnb_py.pools.container import Container
from tmpnb_py.site.site import Site
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Workshop

_AT_ONCE = 4
_REMEMBERED = 1000


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    """What a link asks for. `path` is as the link has it; `document` is its name for people, "" for none.

    `missing` is a document that was asked for and is not there: then all else says what can be opened instead.
    """

    path: str
    document: str = ""
    workshop: Workshop | None = None
    missing: str = ""


class NoNetworkError(ValueError):
    """A link that cannot work where notebooks have no network."""


class Documents:
    """Finds what links ask for. Of fresh notebooks it remembers what they lack."""

    def __init__(self, options: LiveOptions, site: Site, catalogue: Catalogue, *, shares_network: bool) -> None:
        """`shares_network`: the engine's containers have the machine's network, whatever the options say."""
        self._options = options
        self._site = site
        self._catalogue = catalogue
        self._shares_network = shares_network
        self._memory = _Memory()

    @property
    def interfaces(self) -> tuple[str, ...]:
        """What links may open, by the first part of the path: Jupyter's, the operator's and the image's."""
        image = self._catalogue.image
        return (*INTERFACES, *self._options.current.interfaces, *(() if image is None else image.interfaces))

    def target(self, wish: str) -> str:
        """A visitor's wish below a notebook's base path, "" being where the operator lets notebooks open.

        Before an image has said what it has, nothing is known to be missing. Raises `ValueError`, and
        `NoNetworkError` for what could only fail in a notebook that reaches nothing.
        """
        if not wish:
            return document_target(self._options.current.redirect_uri, None)
        target = document_target(wish, None if self._catalogue.image is None else self.interfaces)
        if not has_network(self._options.current, shared=self._shares_network) and needs_network(target):
            raise NoNetworkError("it fetches files over the network, which notebooks here do not have")
        return target

    def read(self, wish: str) -> Subject:
        """What a wish is about, whether or not it is there."""
        path, _, query = wish.partition("?")
        if urllib.parse.unquote(path) == "git-pull":
            return Subject(wish, next(iter(urllib.parse.parse_qs(query).get("repo", [])), ""))
        document = document_of(path)
        workshops = self._catalogue.manifest.workshops
        return Subject(wish, document, next((one for one in workshops if one.start == document.rstrip("/")), None))

    async def find(self, wish: str, container: Container | None = None) -> Subject:
        """What a wish is about; where its document is missing, what to open instead: the workshop of its folder.

        `container` is the visitor's own notebook, if it would be opened there.
        """
        asked = self.read(wish)
        if not asked.document or (asked.workshop and container is None) or wish.startswith("git-pull"):
            return asked
        if not await self._is_missing(asked.document, container):
            return asked
        workshop = self._nearest(asked.document)
        path = "" if workshop is None else document(workshop.start)
        return Subject(path, workshop=workshop, missing=asked.document)

    async def _is_missing(self, document: str, container: Container | None) -> bool:
        pool, memory = self._site.pool_for(document), self._memory
        if container is not None:
            return await memory.ask(container, document)
        known = memory.known.get((pool.name, pool.current_digest, document))
        ready = next((one for one in pool.in_state(State.READY) if one.config_digest == pool.current_digest), None)
        if known is not None or ready is None:
            return bool(known)
        missing = await memory.ask(ready, document)
        # Meanwhile somebody may have got it, and what they delete in it is missing in theirs only.
        return ready.state is State.READY and memory.note((pool.name, ready.config_digest, document), missing)

    def _nearest(self, document: str) -> Workshop | None:
        folders = [(posixpath.dirname(one.start), one) for one in self._catalogue.manifest.workshops]
        return next((one for folder, one in folders if folder and document.startswith(f"{folder}/")), None)


class _Memory:
    """What fresh notebooks lack, and how many are being asked: links may come by the thousand, and be made up."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str | None, str], bool] = {}
        self._asking = 0

    async def ask(self, container: Container, document: str) -> bool:
        """Whether this notebook has no such document; while many ask it is not said of any."""
        if container.endpoint is None or self._asking >= _AT_ONCE:
            return False
        self._asking += 1
        try:
            return await lacks(container.endpoint, container.path, container.token, document)
        finally:
            self._asking -= 1

    def note(self, key: tuple[str, str | None, str], missing: bool) -> bool:
        """Remember what was missing: what is there may have been said by a server that did not answer."""
        if missing:
            self.known[key] = True
            while len(self.known) > _REMEMBERED:
                del self.known[next(iter(self.known))]
        return missing
