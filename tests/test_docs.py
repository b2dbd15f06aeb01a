"""The pages say what holds a promise: what they name has to be there."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
DOCS = ROOT / "docs"

_NAMED = re.compile(r"`((?:[a-z_]+/)*(?:test_[a-z_]+\.py)?)(?:::(test_\w+))?`")


def test_every_test_that_the_threat_model_names_is_there() -> None:
    """A promise whose test was renamed away is held by nothing."""
    named = [found.groups() for found in _NAMED.finditer((DOCS / "security.md").read_text()) if found[1]]
    assert len(named) > 40
    for place, test in named:
        assert (TESTS / place).exists(), place
        assert not test or f"def {test}(" in (TESTS / place).read_text(), f"{place}::{test}"


PAGES = sorted([*DOCS.glob("*.md"), *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))])
_CODE = re.compile(r"`([^`\n]+)`")
_PATH = re.compile(r"(?:[\w.-]+/)*(?:[\w-]+\.(?:py|md|toml|txt|sh|yaml|yml|json|example)|[\w.-]+/)")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TREES = ("evi_mcp", "tests", "scripts", "examples", "docs")
_NOT_OURS = re.compile(r"dist/|(?:\.\w+/)?(?:mcp|settings|claude_desktop_config)\.json")
"""Paths in the pages that are made by a command, or are a client's."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_that_a_page_names_is_there(page: Path) -> None:
    """A newcomer finds the place of a change by these paths: one that was moved sends them nowhere."""
    text = page.read_text()
    code = {named.partition("::")[0] for named in _CODE.findall(text)}
    paths = {path for path in code if _PATH.fullmatch(path) and not _NOT_OURS.fullmatch(path)}
    missing = {path for path in paths if not _is_there(path)}
    links = {link.partition("#")[0] for link in _LINK.findall(text) if "://" not in link}
    missing |= {link for link in links if not (page.parent / link).exists()}
    assert not missing


def test_the_pages_name_many_files() -> None:
    """Else the test above could hold for want of paths that it recognises."""
    text = (DOCS / "architecture.md").read_text()
    assert len({named for named in _CODE.findall(text) if _PATH.fullmatch(named)}) > 60


def _is_there(path: str) -> bool:
    """Whether a path begins at the root, or in a folder that pages leave out; a name alone may be in any folder."""
    if any((ROOT / folder / path).exists() for folder in ("", "evi_mcp", "tests", "docs")):
        return True
    return "/" not in path.rstrip("/") and any(next((ROOT / folder).rglob(path.rstrip("/")), None) for folder in _TREES)
