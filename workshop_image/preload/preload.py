"""Adds preload links to JupyterLab's page, so that a browser fetches all scripts at once.

Without them it discovers the scripts one from another, in four round trips. Run while an image is built, after
JupyterLab and its extensions are installed: `preload.py PREFIX LIST`. Skips files that are not installed, and
everything if the page does not look as expected; a test reports when the list is out of date.
"""

import json
import re
import sys
from pathlib import Path

BEGIN, END = "<!-- preload -->", "<!-- /preload -->"
HASH = re.compile(r"\.([0-9a-f]{16,20})\.js$")
PLACES = {  # by a path's prefix: the directory, the page's name of its URL, whether the URL ends in a hash
    "static/lab": ("share/jupyter/lab/static", "fullStaticUrl"),
    "lab/extensions": ("share/jupyter/labextensions", "fullLabextensionsUrl"),
}


def address(option: str, path: str) -> str:
    """The exact URL that webpack's loader requests. Extensions' entry points have no query."""
    found = HASH.search(path)
    query = f"?v={found[1]}" if found and "/remoteEntry." not in path else ""
    return f"{{{{page_config.{option}}}}}/{path}{query}"


def addresses(prefix: Path, patterns: list[str]) -> list[str]:
    """The URLs of files that match the patterns, in order."""
    found = []
    for pattern in patterns:
        for place, (directory, option) in PLACES.items():
            if pattern.startswith(f"{place}/"):
                root = prefix / directory
                paths = sorted(root.glob(pattern.removeprefix(f"{place}/")))
                found += [address(option, str(path.relative_to(root))) for path in paths]
    return found


def entries(prefix: Path) -> list[str]:
    """The entry points of all extensions, which JupyterLab loads first."""
    found = []
    for package in sorted((prefix / PLACES["lab/extensions"][0]).glob("**/package.json")):
        build = json.loads(package.read_text()).get("jupyterlab", {}).get("_build", {})
        if "load" in build:
            path = (package.parent / build["load"]).relative_to(prefix / PLACES["lab/extensions"][0])
            found.append(f"lab/extensions/{path}")
    return found


def main() -> None:
    """Rewrite the page."""
    prefix, patterns = Path(sys.argv[1]), Path(sys.argv[2]).read_text().split()
    page = prefix / "share/jupyter/lab/static/index.html"
    text = re.sub(f"{BEGIN}.*?{END}", "", page.read_text())
    found = addresses(prefix, [*patterns[:1], *entries(prefix), *patterns[1:]])
    links = "".join(f'<link rel="preload" as="script" href="{one}">' for one in found)
    page.write_text(text.replace("<title>", f"{BEGIN}{links}{END}<title>", 1))


if __name__ == "__main__":
    main()
