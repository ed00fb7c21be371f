"""Fixtures that several test directories share."""

from __future__ import annotations

import contextlib
import secrets
import signal

import pytest
from hypothesis import HealthCheck, settings

from tests import engine_support

# How long an example takes depends on what else the machine does: no test may fail for that.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# A shell lets its background jobs inherit an ignored SIGINT (POSIX, Shell Command Language, 2.11); tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


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
