"""`SECURITY.md` against the tree: each test, file and option that it names is there, and what is long is said to be.

So a test that is renamed or removed takes its claim along, or fails here.
"""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tmpnb_py.options.settings import OPTIONS

ROOT = Path(__file__).parents[2]
TESTS, PROGRAM = ROOT / "tests", ROOT / "tmpnb_py"
TEXT = (ROOT / "SECURITY.md").read_text()
CODE = re.compile(r"`([^`\n]+)`")
TEST = re.compile(r"`([\w/]+/test_\w+\.py)(?:::(\w+))?`( \([^)]*\*long\*[^)]*\))?")
CITED = sorted(set(TEST.findall(TEXT)))
THREATS = ("Visitor to visitor", "Visitor to host", "Visitor to the internet", "Internet to visitor")
SECTIONS = (*THREATS, "Nodes of a swarm", "What operators do by mistake")


def collected(module: ast.Module) -> dict[str, ast.AST]:
    """The tests that pytest collects from a file, by name; fixtures and helpers are none."""
    return {
        node.name: node
        for node in module.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    }


def is_long(module: ast.Module, test: str) -> bool:
    """Whether all of a file, or this test in it, runs with `--long` only."""
    marks = [one.value for one in module.body if isinstance(one, ast.Assign) and "pytestmark" in ast.unparse(one)]
    marks += getattr(collected(module).get(test), "decorator_list", [])
    # A mark of single parameters leaves the others.
    return any("mark.long" in ast.unparse(one) and "parametrize" not in ast.unparse(one) for one in marks)


def test_it_names_many() -> None:
    assert len(CITED) > 80


@pytest.mark.parametrize(("path", "test", "long"), CITED, ids=lambda part: part)
def test_each_test_is_there_and_long_ones_are_marked(path: str, test: str, long: str) -> None:
    module = ast.parse((TESTS / path).read_text())
    tests = collected(module)
    assert tests
    assert not test or test in tests
    assert bool(long) == is_long(module, test)


def test_each_file_of_code_is_there() -> None:
    for name in CODE.findall(TEXT):
        if name.endswith(".py") and not TEST.fullmatch(f"`{name}`"):
            assert (PROGRAM / name).is_file(), name


def test_each_option_is_there() -> None:
    known = {option.flag for option in OPTIONS.values()} | {"--version", "--long", "--json"}
    known |= {f"--no-{option.flag[2:]}" for option in OPTIONS.values() if option.kind == "switch"}
    for code in CODE.findall(TEXT):
        if not code.startswith("dockerd "):
            assert set(re.findall(r"(?<!\S)--[a-z-]+", code)) <= known, code


@pytest.mark.parametrize("section", SECTIONS)
def test_each_threat_says_what_holds_and_what_does_not(section: str) -> None:
    part = TEXT.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    held, _, open_ = part.partition("\n**Not defended**\n")
    assert TEST.search(held)
    assert open_.count("\n- ") >= 3


def slug(heading: str) -> str:
    """A heading's address, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_each_link_leads_to_a_heading_or_a_file() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        path, _, anchor = target.partition("#")
        page = ROOT / (path or "SECURITY.md")
        assert page.is_file(), target
        headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
        assert not anchor or anchor in map(slug, headings), target


@pytest.mark.parametrize("page", ["README.md", "docs/operating.md", "docs/swarm.md", "docs/options.md"])
def test_other_pages_lead_here(page: str) -> None:
    assert "SECURITY.md" in (ROOT / page).read_text()


def test_the_address_for_reports_is_that_of_the_package() -> None:
    """As long as the package declares none, the page says so; then it names that one."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"].get("urls", {})
    part = TEXT.partition("\n## Reporting a hole\n")[2].partition("\n## ")[0]
    if "Security" in urls:
        assert urls["Security"] in part
        assert "none yet" not in part
    else:
        assert "This tree declares none" in part
    assert {"### What to expect", "### Which versions are mended"} <= {*part.splitlines()}
