"""What cites docs/contract.md cites a section that is there, and each section that is built is held by a test."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CONTRACT = (ROOT / "docs" / "contract.md").read_text()
SECTIONS = dict(re.findall(r"^##+ (\d+[a-z]?)\.? (.*(?:\n\*Not built yet\.\*)?)", CONTRACT, re.MULTILINE))
"""The heading of each section by its number, with the mark of those that are not built."""

WORD = re.compile(r"\bcontract\b", re.IGNORECASE)
NUMBERS = re.compile(r"(?:\.md|'s)?\W+sections?\W+((?:\d+[a-z]?(?:, | and | to )?)+)")
CODE = sorted(
    path for folder in ("evi_mcp", "tests", "benchmarks", "examples") for path in (ROOT / folder).rglob("*.py")
)


def citations(text: str) -> list[list[str]]:
    """The sections that each mention of the contract names."""
    found = (NUMBERS.match(text, mention.end()) for mention in WORD.finditer(text))
    return [re.findall(r"\d+[a-z]?", numbers[1]) if numbers else [] for numbers in found]


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        ("Our contract (section 4): a page", [["4"]]),
        (
            "Our contract (sections 3 to 5), and the contract's\n    sections 5, 6 and 4a.",
            [["3", "5"], ["5", "6", "4a"]],
        ),
        ("Holds docs/contract.md, section 4a. Our contract (section 2, EVI_MCP_MAX_CHATS).", [["4a"], ["2"]]),
        ("Our contract: 3 chats", [[]]),
        ("Our contract says so; the_contract_says is a name", [[]]),
    ],
)
def test_a_citation_is_read_as_it_is_written(text: str, sections: list[list[str]]) -> None:
    """The tests below would pass for a form that they do not know."""
    assert citations(text) == sections


def test_whoever_cites_the_contract_names_a_section_that_is_there() -> None:
    """Who reads "our contract" must find the sentence, also after sections were moved."""
    wrong = [
        f"{path.relative_to(ROOT)}: {sections or 'no section'}"
        for path in CODE
        if path != Path(__file__)
        for sections in citations(path.read_text())
        if not sections or not SECTIONS.keys() >= set(sections)
    ]
    assert not wrong


def test_the_contract_names_no_section_that_it_has_not() -> None:
    """Its parts point at each other."""
    assert set(re.findall(r"\bsections? (\d+[a-z]?)", CONTRACT)) <= SECTIONS.keys()
    assert len(SECTIONS) >= 8


def test_each_section_that_is_built_is_held_by_tests() -> None:
    """A promise that no test holds is a wish. The first section promises nothing that could be tested by itself."""
    cited = {
        number
        for path in CODE
        if path.name.startswith("test_") and path != Path(__file__)
        for sections in citations(path.read_text())
        for number in sections
    }
    assert {number for number, heading in SECTIONS.items() if "Not built" not in heading} - {"1"} <= cited
