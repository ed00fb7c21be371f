"""What `packaging/sbom.py` says of an environment, of scripts for browsers and of Debian; and what it refuses.

`tests/e2e/test_contract_tmpnb_compose.py` reads the one that is in the image.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.packaging_support import ROOT, SBOM, must_be_cyclonedx

HASH = {name: (name[0].encode().hex() * 32)[:64] for name in ("typed", "wide", "old")}
LOCK = f"""\
old==1.0 ; sys_platform != 'win32' \\
    --hash=sha256:{HASH["old"]}
    # via wide
typed==2.0.1 \\
    --hash=sha256:{"0" * 64} \\
    --hash=sha256:{HASH["typed"]}
    # via tmpnb-py (pyproject.toml)
wide==3 \\
    --hash=sha256:{HASH["wide"]}
"""
VENDORED = tomllib.loads((ROOT / "packaging" / "vendored.toml").read_text())
DEBIAN = "zlib1g\t1:1.2.13.dfsg-1\tamd64\tii \nlibstdc++6\t12.2.0-14+deb12u1\tamd64\tii \ngone\t1\tamd64\trc "


def install(environment: Path, name: str, version: str, *lines: str) -> None:
    about = environment / "lib/python3.11/site-packages" / f"{name}-{version}.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text(
        "\n".join(["Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *lines])
    )


@pytest.fixture
def environment(tmp_path: Path) -> Path:
    """An environment with our package and three others."""
    needs = ["Requires-Dist: Typed>=2", 'Requires-Dist: missing; extra == "local"', "Requires-Dist: wide (>=3)"]
    install(tmp_path, "tmpnb_py", "0.2.0", "License-Expression: BSD-3-Clause AND MIT", *needs)
    install(
        tmp_path, "typed", "2.0.1", "Classifier: License :: OSI Approved :: MIT License", "License: MIT, as we say"
    )
    install(tmp_path, "Wide", "3", "License: Apache 2", "Requires-Dist: old<2")
    install(tmp_path, "old", "1.0", "License: Copyright\n        and so on")
    return tmp_path


def report(**hashes: str) -> dict[str, Any]:
    """As pip writes it."""
    return {
        "install": [
            {"metadata": {"name": name}, "download_info": {"archive_info": {"hashes": {"sha256": digest}}}}
            for name, digest in (HASH | hashes).items()
        ]
    }


def bill(environment: Path, *, lock: str = LOCK, **hashes: str) -> Any:
    release = {"ID": "debian", "VERSION_ID": "12"}
    return SBOM.bill(environment, report(**hashes), lock, VENDORED, SBOM.of_debian(DEBIAN, release))


def test_a_bill_of_everything(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    document = bill(environment)
    must_be_cyclonedx(json.dumps(document))
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    assert document["metadata"]["component"]["version"] == "0.2.0"
    found = {one["name"]: one for one in document["components"]}
    assert set(found) == {"tmpnb-py", "typed", "wide", "old", "debian", "zlib1g", "libstdc++6"} | {
        one["package"] for one in VENDORED.values()
    }
    assert found["typed"] == {
        "type": "library", "bom-ref": "pkg:pypi/typed@2.0.1", "name": "typed", "version": "2.0.1",
        "licenses": [{"license": {"name": "MIT License"}}], "purl": "pkg:pypi/typed@2.0.1",
        "hashes": [{"alg": "SHA-256", "content": HASH["typed"]}],
    }  # fmt: skip
    assert found["tmpnb-py"]["licenses"] == [{"expression": "BSD-3-Clause AND MIT"}]
    assert found["wide"]["licenses"] == [{"license": {"name": "Apache 2"}}]
    assert "licenses" not in found["old"]
    assert (
        found["libstdc++6"]["purl"] == "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
    )
    edges = {one["ref"]: one["dependsOn"] for one in document["dependencies"]}
    assert edges["pkg:pypi/wide@3"] == ["pkg:pypi/old@1.0"]
    assert edges["pkg:pypi/tmpnb-py@0.2.0"][:2] == ["pkg:pypi/typed@2.0.1", "pkg:pypi/wide@3"]
    assert any(one.startswith("pkg:npm/") for one in edges["pkg:pypi/tmpnb-py@0.2.0"])


def test_the_same_contents_make_the_same_bytes(environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    document = bill(environment)
    assert json.dumps(document) == json.dumps(bill(environment))
    assert "timestamp" not in document["metadata"]
    install(environment, "tmpnb_other", "1")
    other = bill(environment, lock=LOCK + f"tmpnb-other==1 \\\n    --hash=sha256:{'a' * 64}\n", tmpnb_other="a" * 64)
    assert other["serialNumber"] != document["serialNumber"]


@pytest.mark.parametrize(
    ("lock", "hashes"),
    [
        (LOCK.replace("typed==2.0.1", "typed==2.0.0"), {}),
        (LOCK.replace("typed==", "typo=="), {}),
        (LOCK, {"typed": "f" * 64}),
    ],
)
def test_what_the_lock_does_not_have_is_refused(environment: Path, lock: str, hashes: dict[str, str]) -> None:
    with pytest.raises(SystemExit, match=r"typed 2\.0\.1 is installed, and the lock does not have it"):
        bill(environment, lock=lock, **hashes)


def test_what_pip_did_not_install_is_refused(environment: Path) -> None:
    install(environment, "stowaway", "1")
    with pytest.raises(SystemExit, match="stowaway 1 is installed"):
        bill(environment)
