"""Make the site, or check its links to other sites. `docs/build` runs this.

docs/build              the site, in build/docs/html; a warning of Sphinx's is an error
docs/build --fresh      the same, with nothing of earlier builds
docs/build --links      asks all other sites that the pages link to, and reports what does not answer; needs the
                        network and minutes, and fails only if the pages cannot be read
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from docs.site.staging import ROOT, SiteError, clean, stage

BUILT = ROOT / "build" / "docs"  # which git ignores


def main(arguments: Sequence[str] | None = None) -> int:
    """Build; the exit code is Sphinx's."""
    parser = argparse.ArgumentParser(prog="docs/build", description="Make the site of the documentation.")
    parser.add_argument("--fresh", action="store_true", help="use nothing of earlier builds")
    parser.add_argument("--links", action="store_true", help="check the links to other sites, and report")
    options = parser.parse_args(arguments)
    if options.fresh:
        clean(BUILT)
    try:
        stage(BUILT / "pages")
    except SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return _check_links() if options.links else sphinx("html")


def sphinx(builder: str, *more: str) -> int:
    """Run Sphinx on the staged pages."""
    places = ("-c", ROOT / "docs" / "site", "-d", BUILT / "doctrees", BUILT / "pages", BUILT / builder)
    command = [sys.executable, "-m", "sphinx", "--builder", builder, "--quiet", *(more or ("--fail-on-warning",))]
    return subprocess.run([*command, *map(str, places)], cwd=ROOT, check=False).returncode


def _check_links() -> int:
    sphinx("linkcheck", "-Q")  # its exit code also counts sites that are away
    report = Path(BUILT / "linkcheck" / "output.txt")
    if not report.is_file():
        return 1
    print(report.read_text() or "every link to another site leads somewhere")
    return 0


if __name__ == "__main__":
    sys.exit(main())
