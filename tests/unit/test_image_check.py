"""When an image is fit for visitors, and what is advised where it lacks something."""

from __future__ import annotations

import pytest

from tmpnb_py.core.models import ImageFacts, Transport
from tmpnb_py.images.advice import lacking, without_kernel
from tmpnb_py.images.notebooks import problem_of
from tmpnb_py.images.results import CheckReport, KernelTrial, ServerTrial
from tmpnb_py.jupyter.client import Outcome

IMAGE = ImageFacts("x", "sha256:x", supports_socket=True, supports_read_only=True, home="/home/jovyan")
NO_PLOTS = "ModuleNotFoundError: No module named 'matplotlib'"


def report(*kernels: KernelTrial) -> CheckReport:
    trial = ServerTrial(Transport.SOCKET, kernels=kernels)
    return CheckReport(IMAGE, 1, 0, (trial,), tuple(lacking(IMAGE, [trial])))


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
