#!/usr/bin/env python3
"""The bill of materials of the service's image, as CycloneDX 1.6: what is in it, which file of it, and whose licence.

    packaging/sbom.py --environment DIRECTORY --report report.json --lock requirements.txt --vendored vendored.toml

The Dockerfile runs this on what the finished image will hold, and keeps what it prints in that image. It lists the
environment's packages with the SHA-256 of the file that pip installed (its report says which), the scripts for
browsers that tmpnb-py brings, and Debian's packages. It exits with 1 where a package is not one that the lock names,
or its file is not one of the lock's: then something got in by another way.

The same contents make the same bytes. Only SOURCE_DATE_EPOCH gives it a time. It needs no more than Python's own
library, and on Debian `dpkg-query`.
"""

from __future__ import annotations

import argparse
import base64
import datetime
import importlib.metadata
import json
import os
import platform
import re
import subprocess
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import quote

OURS = "tmpnb-py"
_REQUIREMENT = re.compile(r"\s*([\w.-]+)")
_LOCKED = re.compile(r"^([\w.-]+)==([^\s;]+)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)

Component = dict[str, Any]


def canonical(name: str) -> str:
    """A package's name as indexes have it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def purl(kind: str, name: str, version: str, qualifiers: str = "") -> str:
    """A package URL (ECMA-427). A namespace is part of the name."""
    return f"pkg:{kind}/{quote(name)}@{quote(version, safe=':')}{qualifiers}"


def locked(text: str) -> dict[str, tuple[str, set[str]]]:
    """Of each package in a lock its version, and the SHA-256 of each file of it."""
    return {
        canonical(name): (version, set(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest)))
        for name, version, rest in _LOCKED.findall(text)
    }


def installed_files(report: dict[str, Any]) -> dict[str, str]:
    """Of each package in pip's report the SHA-256 of the file that it was installed from."""
    return {
        canonical(one["metadata"]["name"]): one["download_info"]["archive_info"]["hashes"]["sha256"]
        for one in report["install"]
    }


def licences(metadata: importlib.metadata.PackageMetadata) -> list[dict[str, Any]]:
    """What a package says its licence is: an expression, or else its classifiers, or a short text of its own."""
    if expression := metadata.get("License-Expression"):
        return [{"expression": expression}]
    marked = [one for one in metadata.get_all("Classifier") or () if one.startswith("License :: ")]
    names = sorted({one.rpartition(" :: ")[2] for one in marked} - {"OSI Approved"})
    text = (metadata.get("License") or "").strip()
    if not names and text and len(text) < 100 and "\n" not in text:
        names = [text]
    return [{"license": {"name": name}} for name in names]


def needs(distribution: importlib.metadata.Distribution, there: set[str]) -> list[str]:
    """The names of installed packages that one asks for, other than by its extras."""
    found = set()
    for line in distribution.requires or ():
        requirement, _, marker = line.partition(";")
        name = _REQUIREMENT.match(requirement)
        if name and "extra" not in marker and canonical(name[1]) in there:
            found.add(canonical(name[1]))
    return sorted(found)


def of_python(environment: Path, files: dict[str, str], lock: dict[str, Any]) -> tuple[list[Component], list[Any]]:
    """The environment's packages, and which needs which. Exits where one is there without the lock."""
    (packages,) = environment.glob("lib/python3.*/site-packages")
    found = {canonical(one.name): one for one in importlib.metadata.distributions(path=[str(packages)])}
    components, edges = [], []
    refs = {name: purl("pypi", name, one.version) for name, one in found.items()}
    for name, one in sorted(found.items()):
        kind = "application" if name == OURS else "library"
        component: Component = {"type": kind, "bom-ref": refs[name], "name": name, "version": one.version}
        if said := licences(one.metadata):
            component["licenses"] = said
        component["purl"] = refs[name]
        if name != OURS:
            version, hashes = lock.get(name, ("", set()))
            if version != one.version or files.get(name) not in hashes:
                sys.exit(f"{name} {one.version} is installed, and the lock does not have it")
            component["hashes"] = [{"alg": "SHA-256", "content": files[name]}]
        components.append(component)
        edges.append({"ref": refs[name], "dependsOn": [refs[other] for other in needs(one, set(found))]})
    return components, edges


def of_browsers(table: dict[str, Any]) -> list[Component]:
    """Other people's scripts in tmpnb-py: packages of npm, of which it has some files."""
    components = []
    for one in table.values():
        ref = purl("npm", one["package"], one["version"])
        digest = base64.b64decode(one["integrity"].removeprefix("sha512-")).hex()
        components.append({
            "type": "library", "bom-ref": ref, "name": one["package"], "version": one["version"],
            "hashes": [{"alg": "SHA-512", "content": digest}],
            "licenses": [{"expression": one["licence"]}], "purl": ref,
        })  # fmt: skip
    return sorted(components, key=lambda one: str(one["bom-ref"]))


def of_debian(listing: str, release: dict[str, str]) -> list[Component]:
    """The system and its packages, from lines of name, version, architecture and status, with tabs between them."""
    system, number = release.get("ID", "linux"), release.get("VERSION_ID", "")
    components: list[Component] = [{"type": "operating-system", "bom-ref": system, "name": system, "version": number}]
    for line in sorted(listing.splitlines()):
        name, version, architecture, status = line.split("\t")
        if status.startswith("ii"):
            about = f"?arch={architecture}&distro={system}-{number}" if number else f"?arch={architecture}"
            ref = purl("deb", f"{system}/{name}", version, about)
            components.append({"type": "library", "bom-ref": ref, "name": name, "version": version, "purl": ref})
    return components


def bill(
    environment: Path, report: dict[str, Any], lock: str, vendored: dict[str, Any], debian: list[Component]
) -> Component:
    """Return the document."""
    python, edges = of_python(environment, installed_files(report), locked(lock))
    browsers = of_browsers(vendored)
    (ours,) = (one for one in python if one["name"] == OURS)
    (edge,) = (one for one in edges if one["ref"] == ours["bom-ref"])
    edge["dependsOn"] += [one["bom-ref"] for one in browsers]
    image: Component = {"type": "container", "bom-ref": "image", "name": OURS, "version": ours["version"]}
    edges.insert(0, {"ref": "image", "dependsOn": [one["bom-ref"] for one in (ours, *debian)]})
    metadata: Component = {"lifecycles": [{"phase": "build"}], "component": image}
    if epoch := os.environ.get("SOURCE_DATE_EPOCH"):
        metadata["timestamp"] = datetime.datetime.fromtimestamp(int(epoch), datetime.UTC).isoformat()
    document: Component = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json", "bomFormat": "CycloneDX", "specVersion": "1.6",
        "version": 1, "metadata": metadata, "components": [*python, *browsers, *debian], "dependencies": edges,
    }  # fmt: skip
    return {**document, "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document))}"}


def main() -> None:
    """Print the document of this machine, which is an image while it is built."""
    parser = argparse.ArgumentParser(description="Print the CycloneDX bill of materials of the service's image.")
    for name in ("environment", "report", "lock", "vendored"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    asked = parser.parse_args()
    columns = r"${Package}\t${Version}\t${Architecture}\t${db:Status-Abbrev}\n"
    command = ["dpkg-query", "--show", "--showformat", columns]
    listing = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
    document = bill(
        asked.environment,
        json.loads(asked.report.read_text()),
        asked.lock.read_text(),
        tomllib.loads(asked.vendored.read_text()),
        of_debian(listing.stdout, platform.freedesktop_os_release()),
    )
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
