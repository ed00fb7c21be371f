"""The pages as Sphinx reads them, made of the Markdown that is also read on GitHub.

What GitHub shows stays the source: README, CONTRIBUTING and the other pages of the repository's root are pages of the
site, and nothing is written for Sphinx alone but a few comments, which GitHub does not show:

`<!-- site: README.md ## TITLE -->` … `<!-- site: end -->`
    On the site a section of the README, on GitHub what stands between the comments (a link to it). The README is no
    page of the site: each of its sections has to have one such place.
`<!-- site: pages -->`
    The links of the list that follows are this page's part of the table of contents.

A link whose words are a file's name (`[pools.md](pools.md)`) has the page's title instead, and one to a file that is
no page brings the file along. Pictures for light and dark (`<picture>`) follow the site's own switch, drawings
(`pictures/*.svg`) become part of the page. Pure, but for `stage`, which writes.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Of the repository's root. The README is not among them: its sections are parts of other pages.
OF_THE_ROOT = {
    "CHANGELOG.md": "changelog.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "CONTRIBUTING.md": "contributing.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
}
README = "README.md"
HOME = "index.md"

_FENCE = re.compile(r"^(?P<fence>```+|~~~+).*?^(?P=fence)[^\n]*\n", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")
_NAMED = re.compile(r"\[(?:docs/|\.\./)*[\w-]+\.md\](?=\((?P<target>[^)\s]+)\))")
_SECTION = re.compile(r"^<!-- site: README\.md ## (.+?) -->\n.*?^<!-- site: end -->\n", re.MULTILINE | re.DOTALL)
_PAGES = re.compile(r"^<!-- site: pages -->\n\n?(?P<list>(?:(?:- |  ).*\n)+)", re.MULTILINE)
_PICTURE = re.compile(
    r'^<picture>\n\s*<source media="\(prefers-color-scheme: dark\)" srcset="(?P<dark>[^"]+)">\n'
    r'\s*<img src="(?P<light>[^"]+)" alt="(?P<alt>[^"]+)"(?: width="(?P<width>\d+)")?>\n</picture>\n',
    re.MULTILINE,
)
_DRAWING = re.compile(r"^!\[(?P<alt>[^]]+)\]\((?P<path>pictures/[\w-]+\.svg)\)\n", re.MULTILINE)
_TOCTREE = re.compile(r"^```\{toctree\}\n:hidden:\n\n(.*?)^```", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class SiteError(Exception):
    """The pages do not fit together. The message is for who wrote them."""


def pages(root: Path = ROOT) -> dict[str, str]:
    """All pages: a path in the repository, and the file's name on the site."""
    found = {f"docs/{path.name}": path.name for path in sorted((root / "docs").glob("*.md"))}
    return found | OF_THE_ROOT


def slug(heading: str) -> str:
    """A heading's address, as GitHub makes it."""
    text = re.sub(r"\]\([^)]*\)", "]", heading)
    return re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")


def outside_of_code(text: str, change: Callable[[str], str]) -> str:
    """Change all that is not in a fenced block of code."""
    parts, end = [], 0
    for fence in _FENCE.finditer(text):
        parts += [change(text[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, change(text[end:])])


def sections(text: str) -> dict[str, str]:
    """The parts of a page below its headings of the second level, each with its heading."""
    marked = outside_of_code(text, lambda part: re.sub(r"^(?=## )", "\0", part, flags=re.MULTILINE))
    return {part.partition("\n")[0].removeprefix("## "): part for part in marked.split("\0")[1:]}


@dataclasses.dataclass(frozen=True)
class Tree:
    """The repository's pages, and which page of the site has which part of the README."""

    root: Path
    pages: dict[str, str]
    titles: dict[str, str]
    readme: dict[str, str]
    places: dict[str, str]  # the slug of each heading of the README: the page that has it

    @classmethod
    def read(cls, root: Path = ROOT) -> Tree:
        """Read the tree. Raises SiteError if a section of the README has no place, or two."""
        names = pages(root)
        readme = sections((root / README).read_text())
        places: dict[str, str] = {}
        for path in names:
            for title in _SECTION.findall((root / path).read_text()):
                if title not in readme:
                    raise SiteError(f"{path}: the README has no section {title!r}; it has {', '.join(readme)}")
                for heading in _HEADING.findall(readme[title]):
                    if places.setdefault(slug(heading), names[path]) != names[path]:
                        raise SiteError(f"{path}: the section {title!r} of the README is already on the site")
        for title in readme:
            if slug(title) not in places:
                raise SiteError(f"README.md: no page has its section {title!r} (<!-- site: README.md ## {title} -->)")
        titles = {page: _HEADING.findall((root / page).read_text())[0] for page in names}
        return cls(root, names, titles, readme, places)

    def words(self, page: str, found: re.Match[str]) -> str:
        """The words of a link that a page has with a file's name in their place."""
        title = self.titles.get(_resolved(page, found["target"].partition("#")[0]))
        return f"[{title}]" if title else found[0]

    def link(self, page: str, target: str, files: set[Path]) -> str:
        """Where a link of a page leads on the site. A file that is no page is added to `files`."""
        path, hash_, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target) or not path:
            return target
        resolved = _resolved(page, path)
        if resolved == README:
            return f"{self.places[anchor]}#{anchor}" if anchor in self.places else HOME
        if resolved in self.pages:
            return f"{self.pages[resolved]}{hash_}{anchor}"
        if not (self.root / resolved).is_file():
            return target  # Sphinx says so
        files.add(Path(resolved))
        return f"files/{resolved}"


def _resolved(page: str, path: str) -> str:
    """The file that a page's link names, in the repository."""
    return os.path.normpath(f"{page}/../{path}")


def staged(tree: Tree, page: str, files: set[Path]) -> str:
    """A page's text as Sphinx reads it. Files that it links to are added to `files`."""
    text = (tree.root / page).read_text()

    def links(of: str) -> Callable[[str], str]:
        def changed(part: str) -> str:
            named = _NAMED.sub(lambda link: tree.words(of, link), part)
            return _LINK.sub(lambda link: tree.link(of, link[0], files), named)

        return changed

    text = _DRAWING.sub(lambda found: _drawing(tree, found), text)
    text = outside_of_code(text, links(page))
    text = _SECTION.sub(lambda found: outside_of_code(tree.readme[found[1]], links(README)), text)
    text = _PAGES.sub(_with_contents, text)
    return _PICTURE.sub(lambda found: _pictures(found, files), text)


def _with_contents(found: re.Match[str]) -> str:
    names = [target.removesuffix(".md") for target in _LINK.findall(found["list"]) if "#" not in target]
    return "\n".join([found["list"], "```{toctree}", ":hidden:", "", *names, "```", ""])


def _pictures(found: re.Match[str], files: set[Path]) -> str:
    shown = []
    for theme in ("light", "dark"):
        path = Path("docs", found[theme])
        files.add(path)
        width = f" width={found['width']}px" if found["width"] else ""
        shown.append(f"![{found['alt']}](files/{path}){{.only-{theme} .screenshot{width}}}\n")
    return "\n".join(shown)


def _drawing(tree: Tree, found: re.Match[str]) -> str:
    """A drawing as a part of the page: it takes the page's colours, and keys can scroll it on a phone."""
    svg = (tree.root / "docs" / found["path"]).read_text()
    return f'```{{raw}} html\n<figure class="drawing" tabindex="0">{svg}</figure>\n```\n'


def stage(target: Path, root: Path = ROOT) -> None:
    """Write all pages and their files below `target`; what has not changed is left alone, for Sphinx to see."""
    tree = Tree.read(root)
    files: set[Path] = set()
    texts = {name: staged(tree, page, files) for page, name in tree.pages.items()}
    _check_that_all_are_listed(tree, texts)
    wanted = {Path(name): text.encode() for name, text in texts.items()}
    for path in files:
        if not (root / path).is_file():
            raise SiteError(f"{path} is missing")
        wanted[Path("files", path)] = (root / path).read_bytes()
    for path in _present(target):
        if path.relative_to(target) not in wanted:
            path.unlink()
    for name, content in wanted.items():
        path = target / name
        if not path.is_file() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


def _check_that_all_are_listed(tree: Tree, texts: dict[str, str]) -> None:
    listed = {f"{line}.md" for text in texts.values() for block in _TOCTREE.findall(text) for line in block.split()}
    for page, name in tree.pages.items():
        if name not in listed | {HOME}:
            raise SiteError(
                f"{page} is in no list below <!-- site: pages -->: add it, as to that of docs/operators.md"
            )


def _present(target: Path) -> Iterator[Path]:
    return (path for path in list(target.rglob("*")) if path.is_file())


def clean(built: Path) -> None:
    """Remove what earlier builds made."""
    shutil.rmtree(built, ignore_errors=True)
