"""The troubleshooting page and `doctor` know of each other: a symptom says what tells of it, or why nothing can."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents.blocks import ROOT
from tmpnb_py.cli.commands.findings import SECTIONS, Finding, Grade, most_urgent_first
from tmpnb_py.core.installation import troubleshooting_url

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
# Sections of symptoms, by their addresses as GitHub and Sphinx make them.
SYMPTOMS = {
    re.sub(r"[^\w\- ]", "", part.partition("\n")[0].lower()).replace(" ", "-"): part
    for part in re.split(r"^### ", PAGE.partition("\n## ")[2].rpartition("\n## ")[0], flags=re.MULTILINE)[1:]
}
TELLS = re.compile(r"^`doctor` tells: (`\w+`(?:, `\w+`)*)(?:\.|[,;] .+\.)$", re.MULTILINE | re.DOTALL)
CANNOT = re.compile(r"^Not by `doctor`: .+\.$", re.MULTILINE)
NO_SYMPTOMS = {"start-over"}


def subjects() -> set[str]:
    """Those of all findings in the source."""
    folder = ROOT / "tmpnb_py" / "cli" / "commands"
    text = "".join((folder / one).read_text() for one in ("checks.py", "findings.py", "surroundings.py", "visit.py"))
    return set(re.findall(r"""Finding\(\s*(?:Grade\.\w+|grade),\s*"(\w+)",""", text))


def test_each_subject_has_a_section_that_is_about_it() -> None:
    assert subjects() == SECTIONS.keys()
    for subject, section in SECTIONS.items():
        if section != "reporting-a-fault":
            told = TELLS.search(SYMPTOMS[section])
            assert told is not None, section
            assert f"`{subject}`" in told[1], section


@pytest.mark.parametrize("symptom", SYMPTOMS.keys() - NO_SYMPTOMS)
def test_each_symptom_says_what_tells_of_it_or_why_nothing_can(symptom: str) -> None:
    part = SYMPTOMS[symptom]
    told = TELLS.search(part)
    assert (told is None) != (CANNOT.search(part) is None), part
    if told is not None:
        assert {*re.findall(r"\w+", told[1])} <= SECTIONS.keys()


def test_links_lead_to_a_heading_of_the_installed_page() -> None:
    for section in SECTIONS.values():
        url = urlsplit(troubleshooting_url(section))
        assert Path(unquote(url.path)).read_text() == PAGE
        assert url.fragment in SYMPTOMS or url.fragment == "reporting-a-fault"
    assert "\n## Reporting a fault\n" in PAGE


def test_links_within_the_page_lead_somewhere() -> None:
    assert {*re.findall(r"\]\(#([^)]+)\)", PAGE)} <= SYMPTOMS.keys()


def test_what_stops_the_service_comes_first_and_in_the_order_of_causes() -> None:
    found = [Finding(grade, "files", str(number)) for number, grade in enumerate([*Grade, *Grade])]
    assert [(one.grade, one.text) for one in most_urgent_first(found)] == [
        (Grade.FAIL, "2"), (Grade.FAIL, "5"), (Grade.WARN, "1"), (Grade.WARN, "4"), (Grade.OK, "0"), (Grade.OK, "3"),
    ]  # fmt: skip
