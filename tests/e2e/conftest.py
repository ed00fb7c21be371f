"""Fixtures of the end-to-end tests."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from tests.e2e.service import WARM, Deployment, Service, run_service
from tests.engine_support import SERVER_COMMAND_SOCKET


@pytest.fixture(scope="module")
def lab(workshop_image: str) -> Iterator[Service]:
    """A service with real JupyterLabs, two of them ready, shared by a module's tests. Kernels are warm by default."""
    with run_service(
        f"lab{secrets.token_hex(4)}", f"--image={workshop_image}", "--pool-size=2", "--cpu-quota=0", WARM
    ) as service:
        yield service


@pytest.fixture
def deployment(pool: str) -> Iterator[Deployment]:
    """A pool on the machine's engine; the test starts services in it, and nothing of it is left afterwards."""
    with Deployment(pool).ended() as deployment:
        yield deployment


@pytest.fixture
def small(server_image: str) -> list[str]:
    """Options of a service whose notebooks are the stand-in server: they start in a quarter of a second."""
    return [f"--image={server_image}", f"--command={SERVER_COMMAND_SOCKET}", "--mem-limit=128m"]
