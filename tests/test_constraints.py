"""What is installed is what was tested: one version of each package, and the lowest that are allowed."""

import re
import tomllib
from pathlib import Path

import pytest

from scripts.lowest import LOWEST, PINNED, ROOT, bounds, normal, pins

_NAME = re.compile(r"[\w.-]+")


def numbers(version: str) -> tuple[int, ...]:
    """Its release numbers, to be compared: 16 is 16.0."""
    found = tuple(int(part) for part in re.findall(r"\d+", version))
    return found[: max((place for place, number in enumerate(found, 1) if number), default=0)]


@pytest.mark.parametrize("path", [PINNED, LOWEST], ids=lambda path: path.name)
def test_a_file_of_constraints_holds_names_and_versions_only(path: Path) -> None:
    """Where packages come from is the installer's affair, and a second line for one package is one too many."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)
    assert len(pins(path)) == len(lines)


def test_every_package_that_is_named_has_a_version() -> None:
    """What has none is another version each time, and the tests of yesterday say nothing of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line for lines in project["optional-dependencies"].values() for line in lines] + project["dependencies"]
    names = {normal(match[0]) for line in named if (match := _NAME.match(line))} - {"evi-mcp"}
    assert names <= set(pins(PINNED))


def test_what_is_tested_as_the_lowest_is_the_lowest_that_is_allowed() -> None:
    """A lower bound that nothing is tested with is a guess; `make lowest` brings the two together."""
    lowest, pinned = pins(LOWEST), pins(PINNED)
    assert len(bounds()) > 15
    for name, bound in bounds().items():
        assert numbers(lowest[name]) == numbers(bound), (
            f"{name}: pyproject.toml allows {bound}, tested is {lowest[name]}"
        )
        assert numbers(pinned[name]) >= numbers(bound), name
