"""`image check` finds our image fit over each way, and says of a foreign one what it lacks."""

from __future__ import annotations

import json

import pytest

from tests.engine_support import SERVER_COMMAND_PORT, docker
from tests.image.conftest import Place
from tmpnb_py.core.models import Transport
from tmpnb_py.images import check, results

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


async def test_our_image(place: Place) -> None:
    report = await check.check(place.engine, place.settings)
    assert report.works, report
    assert report.advice == ()
    assert report.workshops > 0
    assert [trial.transport for trial in report.trials] == [Transport.SOCKET, Transport.PORT]
    for trial in report.trials:
        assert trial.works
        assert trial.messages
        assert trial.classic  # /tree, the interface that came before JupyterLab
        assert trial.ready_memory < 80 * 1024 * 1024
        assert [one.title for one in trial.kernels] == ["Python 3", "Bash", "gnuplot", "R", "Octave"]
        assert [one.title for one in trial.kernels if not one.drew] == ["Bash"]
    assert json.loads(results.as_json(report))["works"]


async def test_a_command_that_ends_at_once(place: Place) -> None:
    settings = place.settings.model_copy(update={"command": "echo no {socket}; exit 3"})
    report = await check.check(place.engine, settings, transports=[Transport.SOCKET])
    assert not report.works
    (trial,) = report.trials
    assert trial.problem == "the container exited before it answered, with status 3"
    assert any("no /run/tmpnb/server.sock" in line for line in trial.log_lines)


async def test_an_image_that_is_no_notebook_server(place: Place, server_image: str, pool: str) -> None:
    """One without any label, whose server answers on a port but has no kernel."""
    bare = f"tmpnb-py-test/bare:{pool}"
    identifier = docker("create", server_image, "true")
    try:
        changes = [f'LABEL org.tmpnb.{name}=""' for name in ("socket", "read-only", "home", "workshops")]
        docker("commit", *[part for one in changes for part in ("--change", one)], identifier, bare)
        settings = place.settings.model_copy(update={"image": bare, "command": SERVER_COMMAND_PORT})
        report = await check.check(place.engine, settings)
    finally:
        docker("rm", identifier)
        docker("rmi", bare)
    assert not report.works
    assert [trial.transport for trial in report.trials] == [Transport.PORT]
    assert report.trials[0].problem == "api/kernelspecs returned an unexpected answer"
    told = " ".join(one.text for one in report.advice)
    assert "no workshops" in told
    assert "by a port" in told
    assert "its root is writable" in told
    assert all(one.remedy for one in report.advice)
