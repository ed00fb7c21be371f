"""What upgrades are made of, part by part: sockets from outside, a service manager, the channel and its messages."""

from __future__ import annotations

import array
import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.waiting import until
from tmpnb_py import __version__
from tmpnb_py.core.errors import ListenError, SettingsError, UpgradeError
from tmpnb_py.core.models import EndReason
from tmpnb_py.engines.local.process import parent_of
from tmpnb_py.options.settings import Settings
from tmpnb_py.pools.container import Container
from tmpnb_py.proxy.client import Given
from tmpnb_py.proxy.counters import Counters
from tmpnb_py.service import listeners
from tmpnb_py.service.listeners import ADMIN, VISITORS, Bound, Listeners, activated
from tmpnb_py.service.notify import ServiceManager
from tmpnb_py.service.upgrade import channel, new, old, wire
from tmpnb_py.service.upgrade.channel import Channel, ChannelError
from tmpnb_py.service.upgrade.former import Former
from tmpnb_py.service.upgrade.new import Predecessor
from tmpnb_py.service.upgrade.old import VARIABLE

# --- sockets from outside


def test_sockets_that_are_another_process_s_are_left_alone() -> None:
    environ = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "visitors", "HOME": "/"}
    assert activated(environ) == []
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize("count", ["", "-1", "x", "²"])
def test_a_number_that_is_none_counts_as_no_socket(count: str) -> None:
    assert activated({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": count}) == []


_ASK = """
import os, sys
from tmpnb_py.core.errors import TmpnbError
from tmpnb_py.service.listeners import activated
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=sys.argv[2])
try:
    (found,) = activated(os.environ)
    print(found.name, found.sock.getsockname()[1], os.get_inheritable(3))
except TmpnbError as error:
    print(error.exit_code, error.message)
"""


def _asked(descriptor: int, name: str) -> str:
    """What a process finds that is started with a descriptor as its third."""
    done = subprocess.run(
        [sys.executable, "-c", _ASK, str(descriptor), name],
        pass_fds=(descriptor,), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


@pytest.mark.parametrize(("name", "known"), [("admin", "admin"), ("visitors", "visitors"), ("my.socket", "visitors")])
def test_a_service_manager_s_socket_is_taken_by_its_name(name: str, known: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        assert _asked(listener.fileno(), name) == f"{known} {listener.getsockname()[1]} False"


def test_what_is_no_listening_socket_is_refused() -> None:
    with (
        socket.socket() as bound,
        socket.socket(type=socket.SOCK_DGRAM) as datagrams,
        Path(os.devnull).open() as file,
    ):
        bound.bind(("127.0.0.1", 0))
        for one in (bound, datagrams, file):
            assert _asked(one.fileno(), "x").startswith(f"{ListenError.exit_code} what the service manager passed")


@pytest.fixture
def given_sockets() -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(3)]


def test_a_socket_that_is_not_there_is_a_mistake_of_who_started_us() -> None:
    with pytest.raises(ListenError):
        listeners._listening(1_000_000, "visitors")


def test_what_the_options_ask_for_is_used_and_the_rest_refuses_newcomers(given_sockets: list[socket.socket]) -> None:
    fit, other, admin = given_sockets
    listeners = Listeners(
        [
            Bound(VISITORS, fit, "127.0.0.1", 0),
            Bound(VISITORS, other, "127.0.0.1", 8000),
            Bound(ADMIN, admin, "127.0.0.2", 0),  # the option has changed
        ]
    )
    with contextlib.closing(listeners):
        listeners.bind(Settings(ip="127.0.0.1", port=0, admin_ip="127.0.0.1", admin_port=0))
        assert listeners.port(VISITORS) == fit.getsockname()[1]
        assert not listeners.is_activated
        address = other.getsockname()
        with socket.create_connection(address), other.dup():  # which another process has open, too
            listeners.refuse_unused()  # from the moment on from which this process serves
            assert (other.fileno(), admin.fileno()) == (-1, -1)
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(address).close()
        (copy,) = listeners.duplicates(VISITORS)
        copy.close()
        with socket.create_connection(("127.0.0.1", listeners.port(VISITORS))):
            pass  # the kernel still queues connections
    assert fit.fileno() == -1


def test_a_service_manager_s_choice_is_right(given_sockets: list[socket.socket]) -> None:
    with contextlib.closing(Listeners([Bound(VISITORS, given_sockets[0])])) as listeners:
        listeners.bind(Settings(ip="127.0.0.1", port=1, admin_ip="127.0.0.1", admin_port=0))
        assert listeners.is_activated
        assert listeners.port(VISITORS) == given_sockets[0].getsockname()[1]


# --- a service manager


@pytest.mark.parametrize("abstract", [False, True])
def test_a_service_manager_is_told(tmp_path: Path, abstract: bool) -> None:
    address = f"@tmpnb-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"\0{address[1:]}" if abstract else address)
        teller = ServiceManager.of({"NOTIFY_SOCKET": address})
        teller.ready()
        teller.reloading()
        teller.succeeded_by(17)
        teller.stopping()
        told = [manager.recv(1000).decode() for _ in range(4)]
    kind, _, usec = told.pop(1).rpartition("=")
    assert kind == "RELOADING=1\nMONOTONIC_USEC"
    assert abs(int(usec) / 1e6 - time.monotonic()) < 30
    assert told == ["READY=1", "MAINPID=17\nREADY=1", "STOPPING=1"]


@pytest.mark.parametrize("address", ["", "/nowhere/notify", "vsock:1:2", "relative", "/\0"])
def test_nobody_there_is_no_mistake(address: str) -> None:
    ServiceManager(address).ready()


# --- the channel


@contextlib.contextmanager
def channels() -> Iterator[tuple[Channel, socket.socket]]:
    ours, theirs = channel.pair()
    one = Channel(ours)
    with theirs, contextlib.closing(one):
        yield one, theirs


async def followed(one: Channel, theirs: socket.socket) -> Predecessor:
    """The new process's side, once it has heard who starts it."""
    one.send(wire.Start(protocol=wire.PROTOCOL, version="1", listeners=()).written())
    predecessor = await Predecessor.of({VARIABLE: str(os.dup(theirs.fileno()))})
    assert predecessor is not None
    return predecessor


async def test_messages_come_whole_in_order_and_with_descriptors() -> None:
    ours, theirs = channel.pair()
    with contextlib.closing(Channel(ours)) as one, contextlib.closing(Channel(theirs)) as other:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            one.send(b"first", (os.dup(listener.fileno()),))
            for number in range(2000):  # more than the kernel takes at once
                one.send(b"%d" % number * 100)
            message, descriptors = await other.receive()
            assert message == b"first"
            with socket.socket(fileno=descriptors[0]) as copy:
                assert copy.getsockname() == listener.getsockname()
                assert not os.get_inheritable(copy.fileno())
        for number in range(2000):
            assert (await other.receive()) == (b"%d" % number * 100, [])
        one.close()
        one.close()
        with pytest.raises(ChannelError):
            await other.receive()
        other.send(b"nobody", (os.dup(1),))  # gets it, and nothing is left open
        assert other.backlog == 0


async def test_what_is_too_long_ends_the_connection_and_leaves_no_descriptor() -> None:
    with channels() as (one, theirs):
        before = set(Path("/proc/self/fd").iterdir())
        theirs.sendmsg(
            [b"x" * (channel.MOST_BYTES + 1)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [1, 2]))]
        )
        with pytest.raises(ChannelError, match="too long"):
            await one.receive()
        assert set(Path("/proc/self/fd").iterdir()) == before


def test_only_such_a_socket_is_taken() -> None:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        ends = socket.socketpair(socket.AF_UNIX, kind)
        with ends[1], pytest.raises(ChannelError):
            channel.inherited(ends[0].detach())
    with pytest.raises(ChannelError):
        channel.inherited(os.open(os.devnull, os.O_RDONLY))
    with pytest.raises(ChannelError):
        channel.inherited(1_000_000)
    ours, theirs = channel.pair()
    with theirs, channel.inherited(ours.detach()) as end:
        assert not os.get_inheritable(end.fileno())


# --- its messages


def test_a_message_is_read_as_it_was_written() -> None:
    kept = wire.Kept(id="a1", visited=True, has_begun=True, activity=1.5, presence=-2.0, kernel=(1.0,), open=3)
    for message in (
        wire.Sessions(sessions=(kept,)),
        wire.Ends(ends=(wire.Gone(id="a1", reason=EndReason.IDLE, at=1.0),)),
        wire.Keys(keys={"k" * 32: "0" * 32}),
        wire.Yours(secret="ab" * 32),
        wire.Report(connections=1, responses=(0, 1, 2, 3, 4, 5)),
        wire.Serving(),
    ):
        assert wire.read(message.written()) == (message, b"")
    assert wire.read(wire.Connection().written(b"GET /\n\n\0")) == (wire.Connection(), b"GET /\n\n\0")


def test_what_another_version_says_beyond_today_s_fields_is_ignored() -> None:
    assert wire.read(b'{"kind":"serving","more":1}') == (wire.Serving(), b"")
    assert wire.read(b'{"kind":"of tomorrow"}') == (None, b"")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"{}",
        b"[]",
        b'{"kind":["ended"]}',
        b'{"kind":"ended"}',
        b'{"kind":"ended","id":"../x"}',
        b'{"kind":"ended","id":"A"}',
        b'{"kind":"yours","secret":"short"}',
        b'{"kind":"report","connections":-1}',
        b'{"kind":"report","connections":true}',
        b'{"kind":"ends","ends":[{"id":"a","reason":"no reason","at":0}]}',
        b'{"kind":"ends","ends":[{"id":"a","reason":"idle","at":NaN}]}',
        b'{"kind":"keys","keys":{"k":"no ticket"}}',
        b"[" * 100_000,
        b"\xff",
    ],
)
def test_nonsense_is_refused(data: bytes) -> None:
    with pytest.raises(ChannelError):
        wire.read(data)


_JSON = st.recursive(st.none() | st.text() | st.integers(), st.lists).map(json.dumps).map(str.encode)


@given(st.binary(max_size=200) | _JSON)
def test_whatever_comes_is_a_message_or_refused(data: bytes) -> None:
    with contextlib.suppress(ChannelError):
        wire.read(data)


async def test_a_process_that_nobody_started_to_follow_another_one_follows_none() -> None:
    assert await Predecessor.of({}) is None
    assert await Predecessor.of({VARIABLE: "no number"}) is None
    with pytest.raises(UpgradeError):
        await Predecessor.of({VARIABLE: "99999"})


async def test_one_of_another_protocol_is_not_followed() -> None:
    with channels() as (one, theirs):
        start = wire.Start(protocol=wire.PROTOCOL + 1, version="99", listeners=())
        one.send(start.written())
        with pytest.raises(UpgradeError, match="of another kind"):
            await Predecessor.of({VARIABLE: str(os.dup(theirs.fileno()))})


# --- what is remembered of a session


def test_what_the_process_before_knew_is_taken_on() -> None:
    before = Container("a", "digest", "token", created_at=0.0, visited=False, has_begun=True, client="10.0.0.1")
    before.stamp_activity(5.0)
    before.kernel_nudges.add(4.0)
    new = Container("a", "digest", "token", created_at=0.0, visited=True, last_activity=90.0, last_presence=90.0)
    new.remember(before.memory, 100.0)
    assert new.memory == before.memory
    assert (new.visited, new.last_activity, new.client) == (False, 5.0, "10.0.0.1")
    new.remember(before.memory, 3.0)
    assert new.last_activity == 3.0  # nothing lies in the future


class _Site:
    """A site, and its pool, as far as they are told of what was before."""

    name = "tmpnb"

    def __init__(self) -> None:
        self.base = 3
        self.ended: list[str] = []
        self.pools = {self.name: self}

    def subscribe(self, listener: object) -> None:
        pass

    @property
    def default_pool(self) -> _Site:
        return self

    def resize(self, size: int) -> None:
        if size > 1000:
            raise SettingsError("too many")
        self.base = size

    def know_ended(self, container_id: str, reason: EndReason, at: float) -> None:
        self.ended.append(container_id)


async def test_sessions_ends_and_secret_come_over_the_channel() -> None:
    """The old process's side is played here, the new one's is real but for its pool."""
    with channels() as (one, theirs):
        predecessor = await followed(one, theirs)
        one.send(wire.Ends(ends=(wire.Gone(id="gone", reason=EndReason.IDLE, at=1.0),)).written())
        one.send(b'{"kind":"of tomorrow"}')
        one.send(wire.Yours(secret="ab" * 32, size=30, pool_size=3).written())
        site = _Site()
        assert await asyncio.wait_for(predecessor.pool(site), 10) == b"\xab" * 32  # type: ignore[arg-type]
        assert site.base == 30  # as the operator has set it
        assert site.ended == ["gone"]
        assert wire.read((await one.receive())[0])[0] == wire.Prepared(version=__version__, features=wire.FEATURES)
        predecessor.close()


async def test_a_process_that_is_told_to_stop_takes_no_pool_over() -> None:
    with channels() as (one, theirs):
        predecessor = await followed(one, theirs)
        told = asyncio.Event()
        told.set()
        predecessor.follow_unless(told)
        with pytest.raises(UpgradeError, match="told to stop"):
            await predecessor.pool(None)  # type: ignore[arg-type]
        predecessor.close()


@pytest.mark.parametrize(
    ("size", "pool_size", "kept"),
    [(30, 3, 30), (3, 3, 3), (None, 0, 3), (30, 5, 3), (10**6, 3, 3)],
    ids=["set by the operator", "as the option says", "another version", "the option has changed", "above a limit"],
)
def test_a_size_that_the_operator_has_set_stays_unless_the_option_has_changed(
    size: int | None, pool_size: int, kept: int
) -> None:
    site = _Site()
    new._resize(site, wire.Yours(secret="ab" * 32, size=size, pool_size=pool_size))  # type: ignore[arg-type]
    assert site.base == kept


class _Taking:
    """A proxy, as far as it is given connections."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.taken: list[Given] = []

    async def take_on(self, given: Given) -> None:
        os.close(given.descriptor)
        self.taken.append(given)


async def test_a_message_that_makes_no_sense_costs_no_connection_that_follows() -> None:
    """Of the side that serves, that is; before, it ends the upgrade."""
    with channels() as (one, theirs):
        predecessor = await followed(one, theirs)
        one.send(b'{"kind":"ends","ends":[{"id":"a","reason":"of tomorrow","at":0}]}')
        one.send(wire.Connection().written(b"GET /"), (os.dup(1),))
        proxy = _Taking()
        (former,) = predecessor.formers
        following = asyncio.create_task(former.follow(None, proxy))  # type: ignore[arg-type]
        await until(lambda: proxy.taken, 10)
        assert proxy.taken[0].unread == b"GET /"
        one.close()
        await asyncio.wait_for(following, 10)
        assert predecessor.formers == ()


async def test_a_process_of_before_is_passed_on_and_no_visitor_is_lost_between_two_processes() -> None:
    with channels() as (one, theirs), contextlib.ExitStack() as stack:
        here = Former(Channel(channel.inherited(os.dup(theirs.fileno()))), 7, "1.0", 3.0)
        stack.callback(here.close)
        proxy, then = _Taking(), _Taking()
        following = asyncio.create_task(here.follow(None, proxy))  # type: ignore[arg-type]
        one.send(wire.Report(connections=2, websockets=1).written())
        one.send(wire.Connection(place="ab" * 16).written(b"first"), (os.dup(1),))
        await until(lambda: proxy.taken, 10)
        assert (proxy.counters.left_connections, proxy.counters.left_tunnels) == (2, 1)
        told, descriptor = here.pass_on()
        one.send(wire.Connection().written(b"second"), (os.dup(1),))
        await asyncio.wait([following], timeout=10)
        assert following.cancelled()
        assert (proxy.counters.left_connections, proxy.counters.left_tunnels) == (0, 0)
        there = Former.passed_on(told, [descriptor])
        stack.callback(there.close)
        assert (there.pid, there.version, there.since, there.connections, there.websockets) == (7, "1.0", 3.0, 2, 1)
        hearing = asyncio.create_task(there.follow(None, then))  # type: ignore[arg-type]
        await until(lambda: then.taken, 10)
        assert [one.unread for one in (*proxy.taken, *then.taken)] == [b"first", b"second"]
        assert proxy.taken[0].place == "ab" * 16
        here.cut()  # which is not for this one to say any more
        there.ended("a1")
        assert (await one.receive_message()) == wire.Ended(id="a1").written()
        one.close()
        await asyncio.wait_for(hearing, 10)
        assert there.is_gone
        with pytest.raises(ChannelError):
            there.pass_on()
        with pytest.raises(ChannelError):
            Former.passed_on(told, [])


async def test_a_process_that_serves_is_not_killed_for_what_it_says() -> None:
    with channels() as (serving, ours):
        dropped: list[str] = []
        service = SimpleNamespace(proxy=SimpleNamespace(upstreams=SimpleNamespace(drop=dropped.append)))
        upgrade = old.Upgrade(service, ServiceManager(), lambda: None)
        successor = old._Successor(SimpleNamespace(pid=1), Channel(ours.dup()))  # type: ignore[arg-type]
        for message in (b"nonsense", wire.Ended(id="a1").written(), wire.Cut().written()):
            serving.send(message)
        await asyncio.wait_for(upgrade._listen(successor), 10)
        assert dropped == ["a1"]
        assert not successor.is_lost
        successor.hang_up()


def test_what_a_visitor_says_of_the_own_address_stops_no_upgrade() -> None:
    container = Container("a1", "today", "token", created_at=1.0)
    container.client = "x" * 10_000  # X-Forwarded-For, where the whole network is one of trusted proxies
    (told, _) = wire.read(wire.Sessions(sessions=(old._kept(container, 0),)).written())
    assert isinstance(told, wire.Sessions)


# --- containers


_SHELL_OF_A_PERSON = ("bash", "-i")


@pytest.mark.parametrize(
    ("waiting", "refused"),
    [
        ([], True),  # it is the first one itself
        ([("/sbin/tini", "--", "tmpnb-py")], True),
        ([("/bin/sh", "-c", "set -e; tmpnb-py serve")], True),
        ([("bash", "/start.sh"), ("/sbin/docker-init", "--", "/start.sh")], True),
        ([("/bin/bash", "--login", "-ec", "tmpnb-py serve; true")], True),
        ([("/lib/systemd/systemd",)], False),
        ([("bash",)], False),
        ([_SHELL_OF_A_PERSON], False),
        ([("sh", "-c", "tmpnb-py serve"), ("sshd: ann",), ("/sbin/init",)], False),
        ([("sh", "-c", "tmpnb-py serve"), None], False),  # started from outside: docker exec
    ],
)
async def test_who_ends_with_its_container_is_not_followed(
    monkeypatch: pytest.MonkeyPatch, waiting: list[tuple[str, ...] | None], refused: bool
) -> None:
    """`waiting` are the command lines of this process's parent, of that one's, and so on to the first one."""
    count = len(waiting)
    lines = {count - number: line for number, line in enumerate(waiting)}
    monkeypatch.setattr(os, "getpid", lambda: count + 1)
    monkeypatch.setattr(old, "parent_of", lambda pid: 0 if lines.get(pid - 1, ()) is None else pid - 1)
    text = {f"/proc/{pid}/cmdline": "".join(f"{one}\0" for one in line or ()) for pid, line in lines.items()}
    monkeypatch.setattr(Path, "read_text", lambda path: text[str(path)])
    assert old._ends_with_this_process() is refused
    if refused:
        upgrade = old.Upgrade(types.SimpleNamespace(is_follower=False), ServiceManager(), lambda: None)
        with pytest.raises(UpgradeError, match="container"):
            await upgrade.run()


def test_a_process_has_a_parent() -> None:
    assert parent_of(os.getpid()) == os.getppid()
    assert parent_of(2**22 + 1) == 0
