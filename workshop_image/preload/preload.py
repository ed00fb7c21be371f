"""Names the scripts that JupyterLab will need, so that a browser fetches them before they are asked for one by one.

Without that it discovers them one from another, in four round trips, and those that a notebook needs only when its
document has come. JupyterLab's page gets links: `preload` for what every page needs at its start (`files.txt`), and
`prefetch` for what opening a notebook needs later (`notebook.txt`), which browsers fetch when nothing else is to be
fetched. The same names are in a shared file, so that the page before can have them fetched (docs/image.md).

Run while an image is built, after JupyterLab and its extensions are installed: `preload.py PREFIX DIRECTORY`. Skips
files that are not installed, and everything if the page does not look as expected; a test reports when the lists are
out of date.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path

BEGIN, END = "<!-- preload -->", "<!-- /preload -->"
HASH = re.compile(r"\.([0-9a-f]{16,20})\.js$")
PLACES = {  # by the prefix of a file's public path: its directory, and the page's name of its URL
    "static/lab": ("share/jupyter/lab/static", "fullStaticUrl"),
    "lab/extensions": ("share/jupyter/labextensions", "fullLabextensionsUrl"),
}
NAMES = "share/jupyter/lab/static/tmpnb-ahead.json"
IS_NOTEBOOK = "(page_config.treePath or '').endswith('.ipynb')"


def address(path: str) -> str:
    """The path with the query with which webpack's loader asks for it. Extensions' entry points have none."""
    found = HASH.search(path)
    return f"{path}?v={found[1]}" if found and "/remoteEntry." not in path else path


def addresses(prefix: Path, patterns: Sequence[str]) -> list[str]:
    """The addresses, below a notebook's base path, of files that match the patterns, in order."""
    found = []
    for pattern in patterns:
        for place, (directory, _) in PLACES.items():
            if pattern.startswith(f"{place}/"):
                root = prefix / directory
                paths = sorted(root.glob(pattern.removeprefix(f"{place}/")))
                found += [address(f"{place}/{path.relative_to(root)}") for path in paths]
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


def links(kind: str, names: Sequence[str]) -> str:
    """Links of JupyterLab's template to files, which are where the page has them."""
    found = ""
    for name in names:
        place, option = next((place, option) for place, (_, option) in PLACES.items() if name.startswith(f"{place}/"))
        url = f"{{{{page_config.{option}}}}}{name.removeprefix(place)}"
        found += f'<link rel="{kind}" as="script" href="{url}">'
    return found


def main() -> None:
    """Rewrite the page, and write the names."""
    prefix, lists = Path(sys.argv[1]), Path(sys.argv[2])
    patterns = (lists / "files.txt").read_text().split()
    page = addresses(prefix, [*patterns[:1], *entries(prefix), *patterns[1:]])
    notebook = addresses(prefix, (lists / "notebook.txt").read_text().split())
    template = prefix / "share/jupyter/lab/static/index.html"
    text = re.sub(f"{BEGIN}.*?{END}", "", template.read_text())
    later = f"{{% if {IS_NOTEBOOK} %}}{links('prefetch', notebook)}{{% endif %}}"
    template.write_text(text.replace("<title>", f"{BEGIN}{links('preload', page)}{later}{END}<title>", 1))
    (prefix / NAMES).write_text(json.dumps({"page": page, "notebook": notebook}))


if __name__ == "__main__":
    main()
