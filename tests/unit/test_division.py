"""How the site's room is divided between its pools: by examples, by properties, and over time."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmpnb_py.pools.need import Need
from tmpnb_py.site.division import divide, room_of

GIB = 1 << 30
NOBODY = Need(
    weight=GIB, limit=1000, is_limited=False, memory=64 * GIB, in_use=0, ready=0, moving=0, guaranteed=0, waiting=(),
    expected=0, target=0,
)  # fmt: skip


def need(**given: object) -> Need:
    """A pool in which nobody is, with what a test is about."""
    return dataclasses.replace(NOBODY, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pools", "most", "shares"),
    [
        ([need(target=3)], 10, [10]),
        ([need(in_use=12)], 10, [12]),
        ([need(target=4), need(target=4)], 8, [4, 4]),
        ([need(target=30), need(target=10)], 8, [6, 2]),
        ([need(in_use=2, target=30), need(in_use=1, target=30)], 3, [2, 1]),
        ([need(limit=2, target=2), need(target=2)], 10, [2, 8]),
        # what is guaranteed stays free
        ([need(waiting=(1, 2, 3, 4, 5)), need(guaranteed=3)], 6, [3, 3]),
        ([need(in_use=5, target=9), need(guaranteed=3)], 6, [5, 1]),
        # bookings come before visitors, and those before ready ones, the oldest first
        ([need(waiting=(1, 2, 3)), need(reserve=4)], 5, [1, 4]),
        ([need(waiting=(2, 4)), need(waiting=(1, 3))], 3, [1, 2]),
        ([need(target=9), need(waiting=(1,))], 3, [2, 1]),
        ([need(target=9, in_use=1), need(waiting=(5,)), need(waiting=(1,))], 2, [1, 0, 1]),
        # a pool that is full by its own maximum holds up nobody
        ([need(limit=1, in_use=1, waiting=(1,)), need(waiting=(2,))], 2, [1, 1]),
        # what a pool has is not taken for another one's to come, but for visitors it is
        ([need(ready=4, target=4), need(target=1)], 4, [4, 0]),
        ([need(ready=4, target=4), need(waiting=(1,))], 4, [3, 0]),
        ([need(ready=3, target=4), need(waiting=(1,))], 4, [3, 1]),
        ([need(ready=8, target=8), need(target=8)], 8, [5, 0]),
    ],
)
def test_shares(pools: list[Need], most: int, shares: list[int]) -> None:
    assert divide(pools, most) == shares


def test_without_a_maximum_the_memory_is_divided() -> None:
    small, large = need(weight=GIB, target=4), need(weight=4 * GIB, target=4, limit=16)
    assert room_of([small, large], None) == (64 * GIB, [GIB, 4 * GIB])
    first, second = divide([small, large], None)
    assert first * GIB + second * 4 * GIB <= 64 * GIB
    assert min(first, second) >= 4


def test_maxima_of_their_own_are_believed_beyond_the_memory() -> None:
    pools = [need(limit=50, is_limited=True, target=50), need(limit=50, is_limited=True, target=50)]
    assert divide(pools, None) == [50, 50]


def test_room_is_kept_for_whoever_has_waited_longest_and_needs_much() -> None:
    """Else the small ones that come all the time would keep a large one waiting for ever."""
    large = need(weight=8 * GIB, waiting=(1.0,), memory=16 * GIB, limit=2)
    small = need(weight=GIB, in_use=10, ready=0, waiting=(2.0, 3.0), memory=16 * GIB, limit=16)
    assert divide([large, small], None) == [0, 10]


counts = st.integers(0, 12)
needs = st.lists(
    st.builds(
        Need,
        weight=st.integers(1, 4),
        limit=st.integers(0, 30),
        is_limited=st.booleans(),
        memory=st.just(40),
        in_use=counts,
        ready=counts,
        moving=st.integers(0, 3),
        guaranteed=st.integers(0, 5),
        waiting=st.lists(st.floats(0, 100), max_size=6).map(lambda times: tuple(sorted(times))),
        expected=st.integers(0, 2),
        target=counts,
        reserve=st.integers(0, 4),
    ),
    min_size=1,
    max_size=5,
)


@given(needs, st.none() | st.integers(0, 60))
def test_never_more_than_there_is_room_for(pools: list[Need], most: int | None) -> None:
    room, weights = room_of(pools, most)
    shares = divide(pools, most)
    taken = sum(max(one.existing, share) * weight for one, share, weight in zip(pools, shares, weights, strict=True))
    assert taken <= max(room, sum(one.existing * weight for one, weight in zip(pools, weights, strict=True)))
    for one, share in zip(pools, shares, strict=True):
        assert share >= one.in_use, "nobody's notebook is taken away"
        assert share <= max(one.limit, one.in_use)


@dataclasses.dataclass
class Pool:
    """A pool over time: what there is, and who waits."""

    target: int
    guaranteed: int = 0
    limit: int = 1000
    ready: int = 0
    starting: int = 0
    removing: int = 0
    ends: list[int] = dataclasses.field(default_factory=list)
    waiting: list[int] = dataclasses.field(default_factory=list)

    def need(self) -> Need:
        return need(
            limit=self.limit, in_use=len(self.ends), ready=self.ready, moving=self.starting + self.removing,
            guaranteed=self.guaranteed, waiting=tuple(map(float, self.waiting)), target=self.target,
        )  # fmt: skip

    @property
    def existing(self) -> int:
        return self.need().existing

    def act(self, share: int) -> None:
        """As the pool's planner does with `share` as the most that there may be."""
        alive = len(self.ends) + self.starting
        wanted = max(0, min(self.target + len(self.waiting), share - alive))
        given_up = max(0, self.ready - wanted)
        self.ready, self.removing = self.ready - given_up, self.removing + given_up
        missing = self.target + len(self.waiting) - self.ready - self.starting
        self.starting += max(0, min(missing, share - self.existing, 2))


def live(pools: Sequence[Pool], most: int, seed: int, rounds: int) -> int:
    """Visitors come for a while, and leave after theirs. Returns the longest wait in rounds."""
    chance = random.Random(seed)
    longest = 0
    for now in itertools.count():
        for pool in pools:
            pool.removing = 0
            pool.ready, pool.starting = pool.ready + pool.starting, 0
            pool.removing += sum(end <= now for end in pool.ends)
            pool.ends = [end for end in pool.ends if end > now]
            if now < rounds:
                pool.waiting += [now] * chance.randrange(3)
            while pool.ready and pool.waiting:
                longest = max(longest, now - pool.waiting.pop(0))
                pool.ready -= 1
                pool.ends.append(now + 3 + chance.randrange(12))
            for changed in chance.sample(range(len(pools)), len(pools)):  # in whatever order they are woken
                pools[changed].act(divide([one.need() for one in pools], most)[changed])
                assert sum(one.existing for one in pools) <= most, "the cap was exceeded"
        if now >= rounds and not any(one.waiting or one.ends for one in pools):
            return longest
        assert now < rounds + 3000, "somebody waits for ever"
    raise AssertionError


@settings(max_examples=30, deadline=None)
@given(
    st.integers(2, 10),
    st.lists(st.tuples(st.integers(0, 6), st.integers(0, 2)), min_size=1, max_size=4),
    st.integers(0, 1 << 30),
)
def test_nobody_starves_and_the_cap_is_never_exceeded(most: int, pools: list[tuple[int, int]], seed: int) -> None:
    total, made = 0, []
    for target, guaranteed in pools:
        kept = min(guaranteed, most - 1 - total)  # one at least is free for all
        total += kept
        made.append(Pool(target=target, guaranteed=kept))
    live(made, most, seed, rounds=20)


def test_a_crowd_in_one_pool_does_not_keep_the_others_visitors_waiting_longer_than_itself() -> None:
    crowd, quiet = Pool(target=4), Pool(target=2)
    crowd.waiting = [0] * 60
    chance, waits = random.Random(3), []
    for now in range(200):
        for pool in (crowd, quiet):
            pool.removing, pool.ready, pool.starting = 0, pool.ready + pool.starting, 0
            pool.ends = [end for end in pool.ends if end > now]
        if now % 20 == 5:
            quiet.waiting.append(now)
        for pool in (crowd, quiet):
            while pool.ready and pool.waiting:
                came = pool.waiting.pop(0)
                pool.ready -= 1
                pool.ends.append(now + 5 + chance.randrange(5))
                if pool is quiet:
                    waits.append((came, now - came))
        for index, pool in enumerate((crowd, quiet)):
            pool.act(divide([crowd.need(), quiet.need()], 8)[index])
    assert not quiet.waiting
    assert len(waits) == 10
    served_by = max(came + wait for came, wait in waits if came == 5)
    assert served_by < 120, "whoever came before is served before, and then the quiet pool's visitor"
