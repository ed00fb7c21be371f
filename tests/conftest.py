"""Fixtures that several test directories share."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from tests import engine_support

# How long an example takes depends on what else the machine does, and how many of the first ones fit or are too large
# on chance: no test may fail for that. (One for which none fits still does.)
_BY_CHANCE = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
settings.register_profile("untimed", deadline=None, suppress_health_check=_BY_CHANCE)
settings.load_profile("untimed")

# A shell lets its background jobs inherit an ignored SIGINT (POSIX, Shell Command Language, 2.11); tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# Whoever uses one of these needs the engine that has the images.
_ENGINE_FIXTURES = {"server_image", "workshop_image"}


# Where the tests are that make most of what they need themselves.
_SMALL = {"unit", "integration"}


# Files of `tests/unit` that `tests/run --fast` leaves out: each takes two seconds of CPU time or more.
SLOW_FILES = (
    "test_benchmarks.py",
    "test_claims_life.py",
    "test_division.py",
    "test_header_rules.py",
    "test_idle.py",
    "test_math.py",
    "test_notes.py",
    "test_release.py",
    "test_terminal.py",
    "test_upgrade_parts.py",
    "test_workshop_draft.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--long` and `--fast`, for `tests/run`; `--rounds` and `--seed` of the faults (tests/chaos)."""
    parser.addoption("--fast", action="store_true", help="leave out the files of unit tests that take long")
    parser.addoption("--long", action="store_true", help="run the tests that take long, too")
    parser.addoption("--rounds", type=int, default=0, help="rounds of each fault of tests/chaos")
    parser.addoption("--seed", type=int, default=0, help="seed of the first round")
    parser.addoption(
        "--swarm-docker",
        metavar="VERSIONS",
        help="which Docker the nodes of swarms have: own (this machine's), 28 (Debian's newest), 28-containerd (with "
        "containerd's image store), or one for each node, as in own,28,28. Default: own; with --long, then 28",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave slow files out before they are imported."""
    slow = collection_path.parent.name == "unit" and collection_path.name in SLOW_FILES
    return True if slow and config.getoption("--fast") else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """`swarm_docker`: which Docker the nodes of a swarm have (`tests/swarm/nodes.py`)."""
    if "swarm_docker" in metafunc.fixturenames:
        chosen = metafunc.config.getoption("--swarm-docker")
        both = ["own", pytest.param("28", marks=pytest.mark.long)]
        metafunc.parametrize("swarm_docker", [chosen] if chosen else both)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say of each test what it needs, before `-m` chooses among them."""
    for item in items:
        if _ENGINE_FIXTURES & set(getattr(item, "fixturenames", ())):
            item.add_marker("engine")
        if item.path.parent.name in _SMALL and not any(map(item.get_closest_marker, ("engine", "browser", "waits"))):
            item.add_marker("small")
        if item.get_closest_marker("long") and not (config.getoption("--long") or config.getoption("--rounds")):
            item.add_marker(pytest.mark.skip(reason="takes long: tests/run --long runs it"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """A test that takes too long says what each of its tasks waited for; else only the event loop is to be seen."""
    try:
        return (yield)
    except pytest.fail.Exception as error:
        if asyncio.iscoroutinefunction(getattr(item, "function", None)) and "Timeout" in str(error):
            for task in asyncio.all_tasks(asyncio.get_event_loop_policy().get_event_loop()):
                item.add_report_section("call", task.get_name(), "\n".join(_waits_at(task.get_coro())))
        raise


def _waits_at(awaited: Any) -> list[str]:
    """The lines at which a coroutine, and what it awaits, and so on, are."""
    lines = []
    while frame := getattr(awaited, "cr_frame", None) or getattr(awaited, "ag_frame", None):
        lines.append(f"{frame.f_code.co_filename}:{frame.f_lineno} {frame.f_code.co_name}")
        awaited = getattr(awaited, "cr_await", None) or getattr(awaited, "ag_await", None)
    return lines


@pytest.fixture(scope="session")
def server_image() -> str:
    """The name of an image with a stand-in notebook server, in a real Docker engine."""
    return engine_support.build_server_image()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build the images before the first test: the first build takes longer than any test may."""
    wanted = {name for item in session.items for name in getattr(item, "fixturenames", ())}
    builds = {
        "workshop_image": engine_support.build_workshop_image,
        "server_image": engine_support.build_server_image,
    }
    for fixture, build in builds.items():
        if fixture in wanted and not session.config.option.collectonly:
            with contextlib.suppress(pytest.skip.Exception, pytest.fail.Exception, AssertionError):
                build()  # the fixture tells what went wrong


@pytest.fixture(scope="session")
def workshop_image() -> str:
    """The name of the image that visitors get, made by the very command that an operator uses."""
    return engine_support.build_workshop_image()


@pytest.fixture
def pool() -> str:
    """A pool's name that nothing else uses."""
    return f"test{secrets.token_hex(4)}"
