"""What a relay sees to before a notebook becomes ready."""

from __future__ import annotations

import pytest

from tmpnb_py.core.errors import EngineError
from tmpnb_py.core.models import Protection
from tmpnb_py.engines.swarm.relay import node

GOOD = {"NoNewPrivs": "1", "Seccomp": "2", "CapBnd": "0000000000000000"}


def test_what_is_in_force_is_ready() -> None:
    node.see_to(GOOD, ())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"NoNewPrivs": "0"}, "no-new-privileges"),
        ({"Seccomp": "0"}, "seccomp"),
        ({"CapBnd": "00000000a80425fb"}, "capabilities"),
        ({"CapBnd": ""}, "capabilities"),
    ],
)
def test_what_is_not_in_force_is_refused(change: dict[str, str], words: str) -> None:
    with pytest.raises(EngineError, match=words):
        node.see_to({**GOOD, **change}, ())


def test_what_cannot_be_read_is_refused() -> None:
    with pytest.raises(EngineError):
        node.see_to({}, ())


def test_an_operator_may_go_without_some() -> None:
    lacking = {**GOOD, "NoNewPrivs": "0", "CapBnd": "1", "Seccomp": "0"}
    node.see_to(lacking, (Protection.PRIVILEGES, Protection.SECCOMP))
    with pytest.raises(EngineError, match="seccomp"):
        node.see_to(lacking, (Protection.PRIVILEGES,))
