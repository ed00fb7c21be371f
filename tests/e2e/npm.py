"""Packages from npm for pages that use them: fetched once, checked, and kept in tests/artifacts/npm."""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

from tests.engine_support import skip_or_fail

CACHE = Path(__file__).parents[1] / "artifacts" / "npm"

# The sums that the registry gives (`npm view NAME@VERSION dist.integrity`); versions are never replaced there.
SUMS = {
    "@grafana/schema@11.6.0": (
        "+kLlXVf9T7Tq6GX19JjCTGNpyE2a13Isd4JHY4wI6fk1mFirbr2yDC09DdGJjCvcoDYVkPwKvntuDRIPheIBhA=="
    ),
    "@myst-theme/frontmatter@1.4.1": (
        "S31P9uS1Fv0bIT0C07V8OKVyqoPU4zIfH/b0e8tBip9URmiIPmJR+zoqya8Zgsfubt3HDspUHR3wAukZ2mzBew=="
    ),
    "thebe@0.9.3": "Rb/7kVhtlffXra3kIe7OuIGE7awsm2/fGWxw21DiNfnWLnUQiDl9AWqYdshPwZPG/5DzLpsJRPix2xtCPtJmQQ==",
    "thebe-core@0.5.0": "LIAbySgyoH8PPojNOwTwnjHta332CXtqVMPtgC3wBuIkHkgQpJYZUkWGvZR+T6pkgmjIei/WkKMFtV1jstXwWA==",
    "thebelab@0.5.1": "1wYDNmMRZbO3G4wwmoBs+tdjNhwqpHobYxXLTGkXPT6Ul3jUZppdYi3PV1U+sBlohZzzKmYkiMBDivK3XbGJOw==",
}


def package(name: str) -> Path:
    """The directory of a package such as `thebe@0.9.3`. Skips (in CI: fails) where it can't be had."""
    place = CACHE / name
    if place.is_dir():
        return place
    if shutil.which("npm") is None:
        skip_or_fail("npm is not installed")
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as work:
        done = subprocess.run(
            ["npm", "pack", "--silent", f"--pack-destination={work}", name],
            capture_output=True,
            text=True,
            check=False,
            timeout=150,
            cwd=work,
        )
        archives = list(Path(work).glob("*.tgz"))
        if done.returncode or not archives:
            skip_or_fail(f"npm pack {name}: {done.stderr[-1000:]}")
        digest = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        assert digest == SUMS[name], f"{name} is not what it was: {digest}"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(work, filter="data")
        place.parent.mkdir(exist_ok=True)
        if not place.is_dir():
            os.rename(Path(work, "package"), place)  # noqa: PTH104  (fails where another run was quicker)
    return place
