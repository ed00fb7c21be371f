"""swarm.yaml hands on options that there are and those of its page, and all services use the one secret."""

from __future__ import annotations

import re
from pathlib import Path

from tmpnb_py.engines.swarm.link.wire import PORT
from tmpnb_py.options.groups.swarm import DEFAULT_SECRET
from tmpnb_py.options.settings import OPTIONS
from tmpnb_py.options.sources import ADMIN_TOKEN_VARIABLE, API_TOKEN_VARIABLE

ROOT = Path(__file__).parents[2]
STACK = (ROOT / "swarm.yaml").read_text()


def test_what_it_sets_are_options() -> None:
    names = set(re.findall(r"^      ([A-Z_]+):", STACK, re.MULTILINE))
    known = {option.variable for option in OPTIONS.values()} | {ADMIN_TOKEN_VARIABLE, API_TOKEN_VARIABLE}
    assert "TMPNB_SWARM_RELAYS" in names
    assert names <= known


def test_what_its_page_has_an_operator_set_is_handed_on() -> None:
    named = set(re.findall(r"TMPNB_[A-Z_]+", (ROOT / "docs" / "swarm.md").read_text()))
    assert "TMPNB_SWARM_CONSTRAINT" in named
    assert named <= set(re.findall(r"\$\{(TMPNB_[A-Z_]+)", STACK))


def test_orchestrator_and_relays_meet() -> None:
    assert f"TMPNB_SWARM_RELAYS: tasks.relay:{PORT}" in STACK
    assert f"TMPNB_SWARM_SECRET: {DEFAULT_SECRET}" in STACK
    assert f"--secret={DEFAULT_SECRET}" in STACK
    assert STACK.count("secrets: [relay]") == 3
    assert STACK.count("endpoint_mode: dnsrr") == 3, "a virtual address would lead to one relay of many"


def test_orchestrator_and_front_ends_meet() -> None:
    port = re.search(r'TMPNB_FRONT_PORT: "(\d+)"', STACK)
    assert port is not None
    assert f"TMPNB_FRONT_ORCHESTRATOR: tasks.orchestrator:{port[1]}" in STACK
    assert STACK.count("published:") == 1, "visitors come by the front ends"
