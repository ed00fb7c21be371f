"""Notebooks run with the runtime that the operator chose, and an engine that lacks it says which it has."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.test_swarm_services import CONFIG
from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import ContainerSpec
from tmpnb_py.engines.docker import options

INFO = {
    "Runtimes": {
        "io.containerd.runc.v2": {"path": "runc"},
        "runc": {"path": "runc"},
        "runsc": {"path": "/usr/bin/runsc"},
    }
}


def test_a_notebook_and_its_probe_run_with_it() -> None:
    spec = ContainerSpec("abc", "", dataclasses.replace(CONFIG, runtime="runsc"))
    made = options.create_body("pool", spec, socket_source="/s", hosts_source="/h", init=True)
    assert made["HostConfig"]["Runtime"] == "runsc"
    assert options.trial_body("pool", spec.config)["HostConfig"]["Runtime"] == "runsc"
    assert spec.config.digest != CONFIG.digest, "those that run with another one are replaced"


def test_without_a_choice_it_is_the_engines_own() -> None:
    spec = ContainerSpec("abc", "", CONFIG)
    made = options.create_body("pool", spec, socket_source="/s", hosts_source="/h", init=True)
    assert "Runtime" not in made["HostConfig"]
    assert "Runtime" not in options.holder_body("pool", "sha256:x", "me")["HostConfig"]


def test_an_engine_that_lacks_it_says_what_it_has() -> None:
    known = options.runtimes_of(INFO)
    options.see_that_it_has("runsc", known)
    with pytest.raises(EngineError) as caught:
        options.see_that_it_has("kata", known)
    assert caught.value.message == "the engine has no runtime kata; it has runc, runsc"
    assert "daemon.json" in caught.value.remedy


def test_a_shim_of_containerds_needs_no_entry() -> None:
    options.see_that_it_has("io.containerd.kata.v2", options.runtimes_of({}))
    with pytest.raises(EngineError, match="it has none that it names"):
        options.see_that_it_has("kata", options.runtimes_of({}))


def test_gvisor_is_known_by_its_program() -> None:
    assert options.has_own_kernel("runsc", INFO)
    assert not options.has_own_kernel("", INFO)
    assert options.has_own_kernel("", {**INFO, "DefaultRuntime": "runsc"})
    assert options.has_own_kernel("io.containerd.runsc.v1", {})
    assert options.has_own_kernel("mine", {"Runtimes": {"mine": {"runtimeType": "io.containerd.runsc.v1"}}})
    assert not options.has_own_kernel("runsc", {"Runtimes": {"runsc": {"path": "runc"}}}), "a name proves nothing"
