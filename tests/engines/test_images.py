"""What an operator does with images, on whatever engine is there: build, prune, build again, save and load."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.service import PROGRAM
from tests.engine_support import base_image, docker

_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")  # with those of a proxy that re-signs TLS
pytestmark = [
    pytest.mark.engine,
    pytest.mark.long,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not os.environ.get("OTHER_ENGINE"), reason="tests/engines/test_engines.py runs it"),
]


@pytest.fixture
def tag() -> Iterator[str]:
    name = f"tmpnb-py-test/{secrets.token_hex(4)}"
    yield name
    docker("rmi", "--force", name, check=False)


def image(*arguments: str) -> str:
    done = subprocess.run(
        [PROGRAM, "image", *arguments], capture_output=True, text=True, check=False, timeout=1000
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-2000:]}{done.stderr[-3000:]}"
    return done.stdout


def test_image_build_with_certificates_and_save_and_load(tag: str, tmp_path: Path) -> None:
    """It outlives a prune, and comes back from a file under its name with what its notebooks need."""
    bundle = ["--ca-bundle", str(_CERTIFICATES)] if _CERTIFICATES.exists() else []
    base_image()
    image("build", "--target=minimal", f"--tag={tag}", "--network=host", *bundle)
    docker("image", "prune", "--force")  # what has no name: such as the stages of the classic builder
    (built,) = json.loads(docker("image", "inspect", tag))
    assert built["Config"]["Labels"]["org.tmpnb.socket"] == "true"
    assert not any("ca-certificates.crt" in one for one in docker("history", "--no-trunc", tag).splitlines())
    image("save", tag, "--output", str(tmp_path / "image.tar.gz"))
    docker("rmi", "--force", tag)
    image("load", str(tmp_path / "image.tar.gz"), f"--tag={tag}")
    (loaded,) = json.loads(docker("image", "inspect", tag))
    assert loaded["Config"]["Labels"] == built["Config"]["Labels"]
    assert loaded["Id"] == built["Id"]
