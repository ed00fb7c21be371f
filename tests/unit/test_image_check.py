"""When an image is fit for visitors, and what is advised where it lacks something."""

from __future__ import annotations

import dataclasses

import pytest
from aiohttp import web

from tests.unit.test_manifest import workshop
from tmpnb_py.core.models import ContainerSpec, ImageFacts, Transport
from tmpnb_py.engines.fake import FakeEngine, FakeHost, Handler
from tmpnb_py.images import warm
from tmpnb_py.images.advice import lacking, without_kernel
from tmpnb_py.images.notebooks import problem_of
from tmpnb_py.images.results import CheckReport, KernelTrial, ServerTrial
from tmpnb_py.jupyter.client import Outcome
from tmpnb_py.options.settings import Settings

IMAGE = ImageFacts("x", "sha256:x", supports_socket=True, supports_read_only=True, home="/home/jovyan")
NO_PLOTS = "ModuleNotFoundError: No module named 'matplotlib'"


def report(*kernels: KernelTrial) -> CheckReport:
    trial = ServerTrial(Transport.SOCKET, kernels=kernels, messages=True)
    return CheckReport(IMAGE, 1, 0, (trial,), tuple(lacking(IMAGE, [trial])))


def test_an_image_without_our_extension_shows_no_messages() -> None:
    (found,) = lacking(
        IMAGE, [ServerTrial(Transport.SOCKET, kernels=(KernelTrial("python3", "Python 3", runs=True),))]
    )
    assert (found.serious, "shows no messages" in found.text) == (False, True)
    assert "tmpnb-session" in found.remedy
    (failed,) = lacking(IMAGE, [ServerTrial(Transport.SOCKET, problem="it exits")])
    assert failed.serious, "of one that does not start nothing is known"


def test_without_plots_an_image_serves_visitors_all_the_same() -> None:
    found = report(KernelTrial("python3", "Python 3", problem=NO_PLOTS, runs=True))
    assert found.works
    assert [one.serious for one in found.advice] == [False]
    assert "matplotlib" in found.advice[0].remedy


def test_with_a_kernel_that_does_not_run_it_does_not() -> None:
    good, bad = KernelTrial("python3", "Python 3", runs=True), KernelTrial("ir", "R", problem="it did not start")
    assert report(good).works
    assert not report(good, bad).works
    assert [one.serious for one in report(good, bad).advice] == [True]
    assert not report().works


def test_workshops_that_no_kernel_runs_are_named() -> None:
    trial = ServerTrial(Transport.SOCKET, kernels=(KernelTrial("python3", "Python 3", runs=True),))
    needed = {"first-steps": "python3", "introduction-to-r": "ir"}
    (advice,) = without_kernel(needed, [trial])
    assert advice.text == "it lists the workshop introduction-to-r, but has no kernel ir to run it"
    assert not advice.serious
    assert without_kernel(needed, [ServerTrial(Transport.SOCKET, problem="no answer")]) == []


# --- kernels that are started ahead

WARM = dataclasses.replace(IMAGE, image="fake", warm=("ir", "python3"))
WORKSHOPS = (
    workshop("r", preload=["tidyverse"]),
    workshop("plots", preload=["ggplot2"]),
    workshop("py", language="Python"),
    workshop("cold", language="Octave", warm="none"),
)


def test_what_the_workshops_have_started_ahead() -> None:
    assert list(map(str, warm.wanted(WORKSHOPS, WARM))) == ["ir (tidyverse, ggplot2)", "python3"]
    assert warm.wanted(WORKSHOPS, IMAGE) == ()


async def test_each_is_tried_in_a_container_of_its_own() -> None:
    def answering(spec: ContainerSpec) -> Handler:
        failed = {"state": "failed", "problem": "no package\x1b[31m called x"}
        told = [{"name": one.name, **(failed if one.packages else {"state": "ready"})} for one in spec.config.warm]

        async def serve(request: web.Request) -> web.Response:
            return web.json_response({"kernels": told} if request.path.endswith("/warm") else {})

        return serve

    said: list[str] = []
    async with FakeHost() as host:
        host.answering = answering
        kernels, settings = warm.wanted(WORKSHOPS, WARM), Settings(image="fake")
        tried = warm.try_warm(FakeEngine(host), settings, Transport.SOCKET, kernels, said.append)
        found = [one async for one in tried]
        assert not host.containers
    assert [(one.kernel.name, one.problem) for one in found] == [("ir", "no package called x"), ("python3", "")]
    assert found[1].seconds > 0 < found[1].memory
    assert said[0] == "a container with ir (tidyverse, ggplot2) started ahead"
    (advice,) = warm.advice(WORKSHOPS, {}, WARM, found)
    assert advice.text == "ir (tidyverse, ggplot2) cannot be started ahead: no package called x"
    assert not advice.serious


def test_workshops_that_name_another_kernel_than_they_use_are_told() -> None:
    wrong = (workshop("a", warm="octave"), workshop("b", warm="python3"), workshop("c", language="Octave"))
    first, second = warm.advice(wrong, {"a": "octave", "b": "ir", "c": "octave"}, WARM, ())
    assert first.text == "the workshop a wants octave started ahead, which the image cannot"
    assert "says: ir, python3" in first.remedy
    assert second.text == "the workshop b wants python3 started ahead, but its notebook uses ir"
    assert warm.advice(wrong, {}, IMAGE, ()) == []


@pytest.mark.parametrize(
    ("outcome", "problem"),
    [
        (Outcome(text="exit status 1"), ""),  # grep has found nothing
        (Outcome(text="bash: lss: command not found\nexit status 127"), "bash: lss: command not found"),
        (Outcome(text="it is there\nexit status 126"), "exit status 126"),
        (Outcome(text="error: 'x' undefined\n"), "error: 'x' undefined"),
        (Outcome(text="the error: 5\n"), ""),
        (Outcome(text="error: 1\n", error="error: x"), "error: x"),
    ],
)
def test_what_a_kernel_prints_and_calls_well(outcome: Outcome, problem: str) -> None:
    assert problem_of({}, outcome) == problem
    assert problem_of({"metadata": {"tags": ["raises-exception"]}}, outcome) == ""
