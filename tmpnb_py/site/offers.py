"""What each pool offers visitors, and which pool serves a link.

In order: the pool that the link names (`?pool=`), the pool of the workshop that it opens, the default pool. Images
say which workshops they have. A slug of two pools goes to the one whose table lists it in `workshops`, else to the
first, and `conflicts` warns of it. Pages and API ask here; pools come and go with reloads.
"""

from __future__ import annotations

import dataclasses
import posixpath
import urllib.parse
from collections.abc import Collection, Iterable, Iterator, Sequence

from tmpnb_py.claims.claims import Claims
from tmpnb_py.core import wishes
from tmpnb_py.core.document_paths import document_of
from tmpnb_py.options.live import Derived, LiveOptions
from tmpnb_py.pools.container import Container
from tmpnb_py.pools.idle import Limits
from tmpnb_py.pools.pool import Pool
from tmpnb_py.workshops.catalogue import Catalogue
from tmpnb_py.workshops.manifest import Workshop
from tmpnb_py.workshops.notes_cache import NotesCache


class UnknownPoolError(ValueError):
    """A link names a pool that there is not."""


@dataclasses.dataclass(frozen=True, eq=False)
class Offer:
    """One pool as visitors see it. `shares_network`: its containers have the machine's, whatever the options say."""

    claims: Claims
    catalogue: Catalogue
    notes_cache: NotesCache
    limits: Derived[Limits]
    shares_network: bool = False

    @property
    def pool(self) -> Pool:
        """The pool itself."""
        return self.claims.pool

    @property
    def name(self) -> str:
        """The pool's name."""
        return self.claims.pool.name

    @property
    def options(self) -> LiveOptions:
        """The pool's options."""
        return self.claims.pool.options


@dataclasses.dataclass(frozen=True, slots=True)
class Offered:
    """A workshop and the pool that serves it."""

    workshop: Workshop
    offer: Offer


@dataclasses.dataclass(frozen=True, slots=True)
class Shown:
    """What a pool's table lists in `workshops`, and what its image has (None: not known yet)."""

    name: str
    listed: Collection[str]
    has: Collection[str] | None


def conflicts(pools: Sequence[Shown]) -> list[str]:
    """What to tell the operator: slugs of several pools that no table lists, and listed ones that are not there."""
    found = []
    for slug in dict.fromkeys(slug for one in pools for slug in one.has or ()):
        having = [one for one in pools if slug in (one.has or ())]
        if len(having) > 1 and not any(slug in one.listed for one in having):
            found.append(
                f"the workshop {slug} is in the images of the pools {' and '.join(one.name for one in having)}; "
                f"{having[0].name} serves it: list it in workshops of the one that is to"
            )
    return found + [
        f"workshops of the pool {one.name} lists {slug}, which its image does not have"
        for one in pools
        for slug in one.listed
        if one.has is not None and slug not in one.has
    ]


def _slugs(catalogue: Catalogue) -> list[str]:
    return [one.slug for one in catalogue.manifest.workshops]


def _lists(offer: Offer, slug: str) -> bool:
    return slug in offer.options.current.workshops


class Offers:
    """The offers of all pools: of those that visitors can choose, and of those that serve their last sessions."""

    def __init__(self, first: Iterable[Offer] = ()) -> None:
        """`first` are the pools in the order of the tables, with the default pool at the beginning."""
        self._open: dict[str, Offer] = {one.name: one for one in first}
        self._leaving: dict[str, Offer] = {}

    def put(self, offers: Iterable[Offer], leaving: Iterable[Offer] = ()) -> None:
        """Replace all of them."""
        self._open = {one.name: one for one in offers}
        self._leaving = {one.name: one for one in leaving}

    def __iter__(self) -> Iterator[Offer]:
        """Those that visitors can choose, the default pool's first."""
        return iter(self._open.values())

    def __len__(self) -> int:
        return len(self._open)

    @property
    def default(self) -> Offer:
        """What serves links that name neither pool nor workshop."""
        return next(iter(self._open.values()))

    def named(self, pool: str) -> Offer:
        """The offer of a pool by its name, the default for "". Raises `UnknownPoolError`."""
        if not pool:
            return self.default
        found = self._open.get(pool)
        if found is None:
            raise UnknownPoolError(f"there is no pool {pool} here")
        return found

    def of(self, container: Container) -> Offer:
        """The offer of the pool that has a container."""
        return self._with(next((one for one in self._all() if one.pool.get(container.id) is container), None))

    def of_id(self, container_id: str) -> Offer:
        """The offer of the pool that has a container, or remembers its end; the default pool's if none does."""
        return self._with(next((one for one in self._all() if one.pool.knows(container_id)), None))

    def of_claims(self, claims: Claims) -> Offer:
        """The offer of the pool with these claims."""
        return self._with(next((one for one in self._all() if one.claims is claims), None))

    def _with(self, found: Offer | None) -> Offer:
        return self.default if found is None else found

    def _all(self) -> Iterator[Offer]:
        yield from self._open.values()
        yield from self._leaving.values()

    # --- workshops

    def workshops(self) -> list[Offered]:
        """All workshops that are shown, in the order of the tables and of each pool's list."""
        owners = self._owners()
        return [Offered(one, offer) for offer in self for one in offer.catalogue.manifest.workshops
                if owners[one.slug] is offer]  # fmt: skip

    def find(self, slug: str, pool: str = "") -> Offered | None:
        """The workshop with this slug, of this pool or of whichever serves it. Raises `UnknownPoolError`."""
        offer = self.named(pool) if pool else self._owners().get(slug)
        found = None if offer is None else offer.catalogue.manifest.find(slug)
        return None if offer is None or found is None else Offered(found, offer)

    def _owners(self) -> dict[str, Offer]:
        """Who serves each slug: the first that has it and lists it in `workshops`, else the first that has it."""
        owners: dict[str, Offer] = {}
        for offer in self:
            for slug in _slugs(offer.catalogue):
                if slug not in owners or (_lists(offer, slug) and not _lists(owners[slug], slug)):
                    owners[slug] = offer
        return owners

    @property
    def are_known(self) -> bool:
        """Whether the workshops of all pools have been read."""
        return all(one.catalogue.is_known for one in self)

    def conflicts(self) -> list[str]:
        """What the operator should know: slugs of several pools that no table lists, and listed ones that are not."""
        return conflicts(
            [
                Shown(
                    one.name, one.options.current.workshops, _slugs(one.catalogue) if one.catalogue.is_known else None
                )
                for one in self
            ]
        )

    # --- choosing

    def choose(self, wish: str) -> tuple[Offer, str]:
        """The offer for a link's wish, and the wish without the pool's name. Raises `UnknownPoolError`."""
        pool, rest = wishes.split(wish)
        if pool:
            return self.named(pool), rest
        if len(self._open) == 1:
            return self.default, rest
        return self._serving(document_of(rest.partition("?")[0]) or rest.partition("?")[0]) or self.default, rest

    def _serving(self, document: str) -> Offer | None:
        """The offer whose workshop a document belongs to: by its start, by its folder, by a folder with its slug."""
        if not document:
            return None
        everything = self.workshops()
        folder = f"{document}/"
        for one in everything:
            if one.workshop.start == document.rstrip("/"):
                return one.offer
        for one in everything:
            place = posixpath.dirname(one.workshop.start)
            if place and folder.startswith(f"{place}/"):
                return one.offer
        parts = urllib.parse.unquote(document).split("/")
        return next((one.offer for one in everything if one.workshop.slug in parts), None)

    def wish_for(self, offer: Offer, wish: str) -> str:
        """A wish that this pool serves: with its name where the wish alone would lead to another one."""
        _, rest = wishes.split(wish)
        if offer.name not in self._open or self.choose(rest)[0] is offer:
            return rest
        return wishes.joined(rest, offer.name)
