"""Several front ends, without any of their sockets: numbers, routes, stamps, and what is refused on the wire."""

from __future__ import annotations

import re
from pathlib import Path
from unittest.mock import AsyncMock

import pydantic
import pytest

from tmpnb_py.core.installation import PACKAGE
from tmpnb_py.core.models import RelayedAddress, SocketAddress, State, TcpAddress
from tmpnb_py.engines.swarm.link import lines
from tmpnb_py.fronts import stamps, wire
from tmpnb_py.fronts.hub import shared
from tmpnb_py.fronts.ledger import Ledger
from tmpnb_py.fronts.stamps import NOTHING, Seen
from tmpnb_py.fronts.table import ProtocolError, Table
from tmpnb_py.fronts.wire import Hello, Place, Report, Route, Stamp, Told
from tmpnb_py.jupyter.endpoint import Endpoint
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container

A, B, C = "a" * 32, "b" * 32, "c" * 32
HERE = Place(host="127.0.0.1", port=9)


def route(container_id: str, **changes: object) -> Route:
    return Route.model_validate({"id": container_id, "pool": "p", "token": "t0", "place": HERE, **changes})


# --- the orchestrator's numbers


def told(ledger: Ledger, epoch: str, seq: int) -> list[tuple[str, str]]:
    return [(one.event, one.id or (one.route.id if one.route else "")) for one in messages(ledger, epoch, seq)]


def messages(ledger: Ledger, epoch: str, seq: int) -> list[Told]:
    return [Told.model_validate_json(line) for line in ledger.since(epoch, seq)]


def test_who_knows_nothing_is_told_all() -> None:
    ledger = Ledger()
    ledger.put(route(A), 1)
    ledger.put(route(B), 1)
    assert told(ledger, "", 0) == [("snapshot", ""), ("put", A), ("put", B)]
    assert told(ledger, "f" * 32, 2) == [("snapshot", ""), ("put", A), ("put", B)]


def test_who_knows_all_is_told_nothing() -> None:
    ledger = Ledger()
    ledger.put(route(A), 1)
    assert told(ledger, ledger.epoch, 1) == []
    assert told(ledger, ledger.epoch, 2)[0] == ("snapshot", ""), "a number that was never given"


def test_changes_are_told_once_each_in_the_order_of_the_last() -> None:
    ledger = Ledger()
    ledger.put(route(A), 1)
    ledger.put(route(B), 1)
    ledger.put(route(A, origin="https://x"), 2)
    ledger.drop(B)
    assert told(ledger, ledger.epoch, 1) == [("put", A), ("drop", B)]
    assert [one.seq for one in messages(ledger, ledger.epoch, 1)] == [3, 4]


def test_what_is_forgotten_is_told_as_a_whole() -> None:
    ledger = Ledger(remembered=2)
    for key, one in enumerate((A, B, C)):
        ledger.put(route(one), key)
    assert told(ledger, ledger.epoch, 1) == [("put", B), ("put", C)]
    assert told(ledger, ledger.epoch, 0)[0] == ("snapshot", "")


# --- a front end's table


class Kept:
    """A table with what it told its proxy."""

    def __init__(self) -> None:
        self.came: list[str] = []
        self.ended: list[str] = []
        self.refused = False
        self.table = Table(
            self._way, came=lambda one: self.came.append(one.id), ended=lambda one: self.ended.append(one.id)
        )

    def _way(self, route: Route) -> Endpoint:
        assert route.place is not None
        address = route.place.address
        if self.refused or address is None:
            raise ConnectionRefusedError
        return Endpoint(address)

    def hear(self, *messages: Told) -> None:
        for one in messages:
            self.table.hear(one, 1.0)

    def news(self, now: float) -> list[Stamp]:
        return [stamp for part in self.table.parts() for stamp in self.table.news(part, now)]

    def hear_all(self, ledger: Ledger) -> None:
        self.hear(*messages(ledger, self.table.epoch, self.table.seq))
        self.hear(Told(event="alive", epoch=ledger.epoch, seq=ledger.seq))


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.put(route(A), 1)
    made.put(route(B), 1)
    return made


def test_a_table_follows_a_ledger(kept: Kept, ledger: Ledger) -> None:
    kept.hear_all(ledger)
    found = kept.table.session(A)
    assert found is not None
    assert (found.state, found.token, found.base_path) == (State.CLAIMED, "t0", f"/user/{A}/".encode())
    ledger.drop(A)
    ledger.put(route(C), 1)
    kept.hear_all(ledger)
    assert kept.table.session(A) is None
    assert kept.table.session(C) is not None
    assert kept.ended == [A]


def test_another_orchestrators_snapshot_keeps_the_sessions_that_it_has(kept: Kept, ledger: Ledger) -> None:
    kept.hear_all(ledger)
    before = kept.table.session(A)
    assert before is not None
    before.stamp_presence(5.0)
    after_restart = Ledger()
    after_restart.put(route(A), 1)
    kept.hear_all(after_restart)
    assert kept.table.session(A) is before, "its connections and stamps go on"
    assert kept.ended == [B]


def test_a_snapshot_that_was_cut_off_takes_nothing_away(kept: Kept, ledger: Ledger) -> None:
    """What it has told counts at once: it may take long. What it has not told may have been next."""
    kept.hear_all(ledger)
    kept.hear(Told(event="snapshot", epoch="e" * 32, seq=1), Told(event="put", seq=1, route=route(C)))
    assert kept.table.session(C) is not None
    kept.table.begin()
    assert kept.table.session(A) is not None
    assert kept.table.epoch == ledger.epoch
    kept.hear_all(ledger)
    assert kept.ended == []
    after_restart = Ledger()
    after_restart.put(route(A), 1)
    kept.hear_all(after_restart)
    assert sorted(kept.ended) == [B, C]


def test_a_session_without_a_place_stays_where_it_was(kept: Kept, ledger: Ledger) -> None:
    kept.hear_all(ledger)
    ledger.put(route(A, place=None), 2)
    ledger.put(route(C, place=None), 1)
    kept.hear_all(ledger)
    assert kept.table.session(A) is not None
    assert kept.table.session(C) is None, "the orchestrator itself may know more"
    assert len(kept.table) == 3


def test_another_token_is_another_session(kept: Kept, ledger: Ledger) -> None:
    kept.hear_all(ledger)
    before = kept.table.session(A)
    ledger.put(route(A, token="t1"), 2)
    kept.hear_all(ledger)
    after = kept.table.session(A)
    assert after is not before
    assert after is not None
    assert after.token == "t1"
    assert kept.ended == [A]


def test_what_cannot_be_dialled_from_here_is_left_to_the_orchestrator(kept: Kept, ledger: Ledger) -> None:
    kept.refused = True
    kept.hear_all(ledger)
    assert kept.table.session(A) is None
    assert len(kept.table) == 2


@pytest.mark.parametrize(
    "messages",
    [
        [Told(event="put", seq=1, route=route(C))],
        [Told(event="put", seq=3)],
        [Told(event="alive", epoch="f" * 32, seq=2)],
        [Told(event="alive", seq=3)],
        [Told(event="snapshot", epoch="f" * 32, seq=0), Told(event="drop", seq=1, id=A)],
    ],
    ids=["again", "no route", "another epoch", "left out", "in a snapshot"],
)
def test_what_cannot_be_ends_the_connection(kept: Kept, ledger: Ledger, messages: list[Told]) -> None:
    kept.hear_all(ledger)
    with pytest.raises(ProtocolError):
        kept.hear(*messages)
    assert kept.table.session(A) is not None


# --- stamps


def session(container_id: str = A) -> Container:
    return Container(container_id, "", "t0", created_at=0.0, state=State.CLAIMED, claimed_at=0.0)


def test_news_are_told_once(kept: Kept, ledger: Ledger) -> None:
    kept.hear_all(ledger)
    assert list(kept.news(10.0)) == []
    container = kept.table.session(A)
    assert container is not None
    container.connection_opened(7.0)
    container.stamp_activity(8.0)
    container.kernel_nudges.add(6.0)
    assert list(kept.news(10.0)) == [Stamp(id=A, presence=3.0, activity=2.0, open=1, kernel=(4.0,))]
    assert list(kept.news(11.0)) == []
    container.connection_closed(12.0)
    assert [one.open for one in kept.news(12.0)] == [0]
    kept.table.forget_told()
    [again] = kept.news(20.0)
    assert (again.presence, again.activity, again.left, again.kernel) == (13.0, 12.0, 8.0, (14.0,))


def test_the_newest_stamp_counts_whoever_told_it() -> None:
    container = session()
    stamps.apply(Stamp(id=A, presence=5.0, activity=6.0, open=2), container, 2, 100.0)
    stamps.apply(Stamp(id=A, presence=50.0, activity=60.0, left=10.0, open=1), container, 1, 100.0)
    assert (container.last_presence, container.last_activity) == (95.0, 94.0)
    assert (container.open_connections, container.left_at, container.visited) == (3, 90.0, True)
    stamps.lose(container, 2, 130.0)
    assert (container.open_connections, container.left_at) == (1, 130.0)


def test_a_report_that_counts_wrongly_makes_nothing_negative() -> None:
    container = session()
    stamps.apply(Stamp(id=A), container, -5, 1.0)
    assert container.open_connections == 0


def test_a_front_ends_record_says_what_the_orchestrators_would() -> None:
    there, here = session(), session()
    now = 50.0
    for moment in (10.0, 20.0, 30.5):
        there.connection_opened(moment)
        there.terminal_nudges.add(moment)
    there.connection_closed(40.0)
    there.stamp_activity(41.0)
    stamps.apply(stamps.stamp_of(there, NOTHING, now), here, 2, now)
    assert here.evidence == there.evidence
    assert Seen.of(here) == Seen.of(there)


# --- what is documented


def test_every_log_event_and_metric_is_documented() -> None:
    page = (PACKAGE.parent / "docs" / "swarm.md").read_text()
    text = "".join(
        path.read_text() for path in (*(PACKAGE / "fronts").glob("*.py"), PACKAGE / "service" / "front.py")
    )
    named = set(re.findall(r"log\.(?:debug|info|warning)\(\s*\"(\w+)\"", text))
    named |= set(re.findall(r"\"(tmpnb_\w+)\"", text))
    assert {"front_joined", "orchestrator_lost", "tmpnb_fronts"} <= named
    for name in named:
        assert re.search(rf"`{name}(?:_total)?`", page), name


# --- the wire


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        b'{"do":"rule"}',
        b'{"do":"routes","front":"../../etc"}',
        b'{"do":"routes","seq":-1}',
        b'{"do":"routes","seq":"1"}',
        b'{"do":"routes","epoch":"x"}',
        b'{"do":"routes","more":1}',
    ],
)
def test_a_hello_that_is_none(line: bytes) -> None:
    with pytest.raises(pydantic.ValidationError):
        Hello.model_validate_json(line)


@pytest.mark.parametrize(
    "stamp",
    [
        '{"id":"A"}',
        '{"id":"a/b"}',
        '{"id":"a","presence":-1}',
        '{"id":"a","presence":NaN}',
        '{"id":"a","presence":Infinity}',
        '{"id":"a","presence":1e400}',
        '{"id":"a","open":-1}',
        '{"id":"a","open":1e9}',
        '{"id":"a","open":true}',
        '{"id":"a","kernel":[' + ",".join("1" * 65) + "]}",
    ],
)
def test_a_stamp_that_is_none(stamp: str) -> None:
    with pytest.raises(pydantic.ValidationError):
        Report.model_validate_json(f'{{"stamps":[{stamp}]}}')


def test_a_report_is_bounded() -> None:
    one = '{"id":"a"}'
    Report.model_validate_json(f'{{"stamps":[{",".join([one] * wire.MOST_STAMPS)}]}}')
    with pytest.raises(pydantic.ValidationError):
        Report.model_validate_json(f'{{"stamps":[{",".join([one] * (wire.MOST_STAMPS + 1))}]}}')


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "A" * 32},
        {"id": ""},
        {"pool": "../x"},
        {"token": "a b"},
        {"token": "a\r\nb"},
        {"origin": "https://x\r\n"},
        {"base_url": "no/slash"},
        {"base_url": "/user/"},
        {"place": {"host": "example.org", "port": 1}},
        {"place": {"host": "127.0.0.1", "port": 70000}},
        {"place": {"directory": "relative", "name": "s"}},
        {"place": {"directory": "/x", "name": "../s"}},
        {"place": {"node": "n/1"}},
        {"place": {"command": "sh"}},
    ],
    ids=str,
)
def test_a_route_that_is_none(changes: dict[str, object]) -> None:
    with pytest.raises(pydantic.ValidationError):
        route(A, **changes)


def test_places_are_the_addresses_that_they_were_made_of() -> None:
    assert Place.of(TcpAddress("10.0.0.1", 80)).address == TcpAddress("10.0.0.1", 80)
    assert Place.of(SocketAddress("/run/x", "s")).address == SocketAddress("/run/x", "s")
    relayed = Place.of(RelayedAddress("n1", "abc", AsyncMock()))
    assert (relayed.node, relayed.directory, relayed.address) == ("n1", "", None)


def test_a_message_survives_the_wire() -> None:
    message = Told(event="put", seq=3, route=route(A, base_url="/x/", origin="https://a.example"))
    assert Told.model_validate_json(lines.line_of(message)) == message


def test_only_shared_options_are_told_and_read_back_as_they_were() -> None:
    settings = Settings(
        allowed_hosts=("lab.example.org",), allow_origin=("https://a.example",), max_wait=12.5, site_title="Lab",
        runtime_dir=Path("/x"),
    )  # fmt: skip
    told = shared(settings)
    assert told.keys() == {"allowed_hosts", "allow_origin", "max_wait"}
    read = Settings.model_validate(Told(event="options", options=told).options)
    assert all(getattr(read, name) == getattr(settings, name) for name in wire.SHARED)
    with pytest.raises(pydantic.ValidationError):
        Told.model_validate_json(b'{"event":"options","options":{"admin_auth_token":"x"}}')
