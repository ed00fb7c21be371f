#!/usr/bin/env python3
"""Third-party scripts for browsers: fetch what packaging/vendored.toml lists into tmpnb_py/vendor/.

    packaging/vendor.py            fetch every package, verify it, and write its files
    packaging/vendor.py mathjax    only this one
    packaging/vendor.py --check    fetch and compare; write nothing, exit 1 where something differs

Files are those of the npm packages, unchanged. An archive counts only with the integrity that the table names, and a
file only with the table's SHA-256: for a new file enter "" there, and this program says what it should be. It needs
`npm` and a registry; tests hold the committed files against the table without either.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "packaging" / "vendored.toml"
VENDOR = ROOT / "tmpnb_py" / "vendor"


def fetch(entry: dict[str, Any], work: Path) -> Path:
    """Download a package and return the directory of its files. Exits where the archive is another than expected."""
    name = f"{entry['package']}@{entry['version']}"
    subprocess.run(["npm", "pack", "--silent", f"--pack-destination={work}", name], check=True, cwd=work)  # noqa: S603, S607
    (archive,) = work.glob("*.tgz")
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if integrity != entry["integrity"]:
        sys.exit(f"{name}: the archive's integrity is {integrity}, and the table says {entry['integrity']}")
    with tarfile.open(archive) as packed:
        packed.extractall(work, filter="data")
    return work / "package"


def compare(name: str, entry: dict[str, Any], package: Path, *, write: bool) -> list[str]:
    """Compare a package's files with the table and with ours, and write them if asked to. Returns complaints."""
    complaints = []
    for path, expected in entry["files"].items():
        data, ours = (package / path).read_bytes(), VENDOR / name / path
        actual = hashlib.sha256(data).hexdigest()
        if actual != expected:
            complaints.append(f'{name}: the table should say  "{path}" = "{actual}"')
        elif write:
            ours.parent.mkdir(parents=True, exist_ok=True)
            ours.write_bytes(data)
        elif not ours.is_file() or ours.read_bytes() != data:
            complaints.append(f"{name}: {path} is not the package's")
    return complaints + [f"{name}: {path} is not in the table" for path in strangers(name, entry)]


def strangers(name: str, entry: dict[str, Any]) -> list[str]:
    """Files in a package's directory that the table does not list."""
    here = VENDOR / name
    found = {path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()}
    return sorted(found - set(entry["files"]))


def main() -> int:
    """Return 1 where something differs."""
    parser = argparse.ArgumentParser(description="Fetch third-party scripts for browsers, or compare them.")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    parser.add_argument("names", nargs="*", help="directories below tmpnb_py/vendor (all)")
    arguments = parser.parse_args()
    table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
    complaints = []
    for name in arguments.names or table:
        with tempfile.TemporaryDirectory() as work:
            package = fetch(table[name], Path(work))
            complaints += compare(name, table[name], package, write=not arguments.check)
    print(*complaints, sep="\n", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
