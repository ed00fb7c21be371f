"""The programs of `packaging/`, which is no package, as modules."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL

ROOT = Path(__file__).parents[1]


def program(name: str) -> ModuleType:
    """A file of `packaging/`."""
    spec = importlib.util.spec_from_file_location(f"packaging_{name}", ROOT / "packaging" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOCKS: dict[str, Any] = program("lock").LOCKS
SBOM = program("sbom")


def locked(path: Path) -> dict[str, tuple[str, set[str]]]:
    """Of each package in a lock its version and its files' SHA-256."""
    found: dict[str, tuple[str, set[str]]] = SBOM.locked(path.read_text())
    return found


def must_be_cyclonedx(text: str) -> None:
    """Assert that a document keeps to the schema, and that its parts name each other."""
    wrong = JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)
    assert wrong is None, str(wrong)[-2000:]
    document = json.loads(text)
    refs = [one["bom-ref"] for one in document["components"]] + [document["metadata"]["component"]["bom-ref"]]
    assert len(refs) == len(set(refs))
    edges = document["dependencies"]
    assert {one["ref"] for one in edges} | {other for one in edges for other in one["dependsOn"]} <= set(refs)
    urls = [one["purl"] for one in document["components"] if "purl" in one]
    assert [PackageURL.from_string(one).to_string() for one in urls] == urls
