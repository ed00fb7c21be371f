"""The pages as the site has them: where links lead, the README's parts, pictures in light and dark."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from docs.site.screenshots import MOST, SHOTS
from docs.site.staging import OF_THE_ROOT, ROOT, SiteError, Tree, pages, sections, slug, stage, staged

QUOTE = re.compile(r"^<!-- from: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r'srcset="pictures/([\w-]+)-dark\.webp">\n\s*<img src="pictures/([\w-]+)\.webp" alt="([^"]+)"')
EVERY_PAGE = sorted(pages())


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small repository."""
    (tmp_path / "docs" / "pictures").mkdir(parents=True)
    for name in OF_THE_ROOT:
        (tmp_path / name).write_text("# A page\n")
    listed = "".join(f"- [A page](../{name})\n" for name in OF_THE_ROOT)
    (tmp_path / "README.md").write_text(
        "# It\n\n## Begin\n\n[more](docs/b.md#c)\n\n```sh\n## no heading\n```\n\n## End\n\n### Of it\n"
    )
    (tmp_path / "docs" / "index.md").write_text(
        f"# Home\n\n<!-- site: pages -->\n- [B](b.md), now\n- [C](b.md#c)\n{listed}"
    )
    (tmp_path / "docs" / "b.md").write_text(
        "# B\n\n<!-- site: README.md ## Begin -->\n[it](../README.md)\n<!-- site: end -->\n"
        "<!-- site: README.md ## End -->\n<!-- site: end -->\n\n## C\n"
    )
    return tmp_path


def page(tree: Path, text: str, files: set[Path] | None = None) -> str:
    """What becomes of a text in `docs/x.md`."""
    (tree / "docs" / "x.md").write_text(f"# X\n{text}")
    return staged(Tree.read(tree), "docs/x.md", set() if files is None else files).removeprefix("# X\n")


def test_a_section_of_the_readme_takes_the_place_of_the_link_to_it(tree: Path) -> None:
    shown = staged(Tree.read(tree), "docs/b.md", set())
    assert "[it]" not in shown
    assert shown.count("## Begin\n\n[more](b.md#c)\n\n```sh\n## no heading\n```") == 1


def test_the_list_of_pages_is_the_table_of_contents(tree: Path) -> None:
    shown = staged(Tree.read(tree), "docs/index.md", set())
    assert "- [B](b.md), now\n- [C](b.md#c)\n- [A page](changelog.md)\n" in shown
    assert "\n\n```{toctree}\n:hidden:\n\nb\nchangelog\n" in shown
    assert shown.endswith("\nsecurity\n```\n")


@pytest.mark.parametrize(
    ("link", "leads"),
    [
        ("../README.md#of-it", "b.md#of-it"),
        ("../README.md", "index.md"),
        ("../SECURITY.md#a-page", "security.md#a-page"),
        ("b.md", "b.md"),
        ("#here", "#here"),
        ("https://example.org/README.md", "https://example.org/README.md"),
        ("nowhere.md", "nowhere.md"),
    ],
)
def test_where_links_lead(tree: Path, link: str, leads: str) -> None:
    assert page(tree, f"[x]({link})\n") == f"[x]({leads})\n"
    assert page(tree, f"```md\n[x]({link})\n```\n") == f"```md\n[x]({link})\n```\n"


@pytest.mark.parametrize(
    ("link", "shown"),
    [
        ("[b.md](b.md#c)", "[B](b.md#c)"),
        ("[SECURITY.md](../SECURITY.md)", "[A page](security.md)"),
        ("[README.md](../README.md)", "[README.md](index.md)"),
        ("[a b.md](b.md)", "[a b.md](b.md)"),
    ],
)
def test_a_link_by_a_files_name_has_the_pages_title(tree: Path, link: str, shown: str) -> None:
    assert page(tree, f"See {link}.\n") == f"See {shown}.\n"


def test_a_file_that_is_no_page_comes_along(tree: Path, tmp_path: Path) -> None:
    (tree / "unit.service").write_text("[Unit]")
    (tree / "docs" / "x.md").write_text("# X\n\n[the unit](../unit.service)\n")
    with pytest.raises(SiteError, match=r"docs/x\.md is in no list"):
        stage(tmp_path / "staged", tree)
    home = (tree / "docs" / "index.md").read_text()
    (tree / "docs" / "index.md").write_text(f"{home}- [X](x.md)\n")
    stage(tmp_path / "staged", tree)
    assert "(files/unit.service)" in (tmp_path / "staged" / "x.md").read_text()
    assert (tmp_path / "staged" / "files" / "unit.service").read_text() == "[Unit]"
    (tree / "docs" / "x.md").unlink()
    (tree / "docs" / "index.md").write_text(home)
    stage(tmp_path / "staged", tree)
    assert not (tmp_path / "staged" / "x.md").exists()


def test_a_picture_follows_the_sites_own_switch(tree: Path) -> None:
    files: set[Path] = set()
    shown = page(
        tree,
        '<picture>\n  <source media="(prefers-color-scheme: dark)" srcset="pictures/a-dark.webp">\n'
        '  <img src="pictures/a.webp" alt="What it shows." width="300">\n</picture>\n',
        files,
    )
    assert files == {Path("docs/pictures/a.webp"), Path("docs/pictures/a-dark.webp")}
    assert "![What it shows.](files/docs/pictures/a.webp){.only-light .screenshot width=300px}" in shown
    assert "![What it shows.](files/docs/pictures/a-dark.webp){.only-dark .screenshot width=300px}" in shown


def test_a_drawing_becomes_a_part_of_the_page(tree: Path) -> None:
    (tree / "docs" / "pictures" / "d.svg").write_text("<svg><title>D</title></svg>\n")
    shown = page(tree, "![A drawing](pictures/d.svg)\n")
    assert '<figure class="drawing" tabindex="0"><svg><title>D</title></svg>' in shown


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- site: README.md ## No -->\n<!-- site: end -->\n", "has no section 'No'; it has Begin, End"),
        ("<!-- site: README.md ## Begin -->\n<!-- site: end -->\n", "'Begin' of the README is already on the site"),
    ],
)
def test_what_does_not_fit_is_said(tree: Path, text: str, message: str) -> None:
    with pytest.raises(SiteError, match=re.escape(message)):
        page(tree, text)


def test_a_section_without_a_place_is_said(tree: Path) -> None:
    with (tree / "README.md").open("a") as readme:
        readme.write("\n## New\n")
    with pytest.raises(SiteError, match=r"no page has its section 'New'"):
        Tree.read(tree)


@pytest.mark.parametrize(("heading", "address"), [("`POST /api/x`", "post-apix"), ("What [a](b) is", "what-a-is")])
def test_addresses_of_headings(heading: str, address: str) -> None:
    assert slug(heading) == address


def test_headings_in_code_begin_no_section() -> None:
    assert list(sections("## A\n```sh\n## B\n```\n## C\n")) == ["A", "C"]


# --- the pages that there are


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_quotations_are_what_the_files_say(name: str) -> None:
    text = (ROOT / name).read_text()
    found = QUOTE.findall(text)
    assert len(found) == len(re.findall("^<!-- from: ", text, re.MULTILINE))
    for path, quoted in found:
        assert quoted in (ROOT / path).read_text(), f"{name} quotes {path}: {quoted}"


@pytest.mark.parametrize("name", EVERY_PAGE)
def test_pictures_are_there_in_light_and_dark_and_described(name: str) -> None:
    text = (ROOT / name).read_text()
    found = PICTURE.findall(text)
    assert len(found) == text.count("<picture>")
    for dark, light, words in found:
        assert dark == light
        assert len(words) > 30


def test_every_picture_is_small_and_is_of_the_product() -> None:
    kept = {path.stem for path in (ROOT / "docs" / "pictures").glob("*.webp")}
    assert kept == {f"{shot.name}{theme}" for shot in SHOTS for theme in ("", "-dark")}
    for path in (ROOT / "docs" / "pictures").iterdir():
        assert path.stat().st_size <= MOST, path


def test_every_file_that_the_three_walks_name_is_there() -> None:
    text = (ROOT / "docs" / "extending.md").read_text()
    for path in re.findall(r"`((?:\w+/)+\w+\.(?:py|html))`", text):
        assert (ROOT / path).is_file() or (ROOT / "tmpnb_py" / path).is_file(), path


def test_nothing_of_the_site_is_committed() -> None:
    done = subprocess.run(["git", "check-ignore", "-q", "build/docs/html"], cwd=ROOT, check=False)
    assert done.returncode in (0, 128)  # 128: no clone, but an archive
