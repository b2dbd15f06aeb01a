"""The tools of this project call each other under names that are there."""

import re
import subprocess

from scripts.lowest import ROOT
from scripts.test_all import SMOKE, VERSIONS, interpreter

MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))


def test_every_target_that_is_named_can_be_made() -> None:
    """In the list at the head of the Makefile, in the pages for people, before a commit, and in CI."""
    places = ["Makefile", "README.md", "CONTRIBUTING.md", ".pre-commit-config.yaml", "constraints-lowest.txt"]
    called = re.compile(r"(?:`|# |entry: |\()make (?:--no-print-directory )?([a-z][a-z-]*)")
    named = {name for place in places for name in called.findall((ROOT / place).read_text())}
    assert len(named) > 10
    assert named <= TARGETS
    listed = MAKEFILE.partition(".PHONY:")[2].partition("\n\n")[0]
    assert set(listed.replace("\\", "").split()) == TARGETS, "a target that is no file is declared as such"


def test_checks_before_a_commit_are_those_of_make_and_come_from_nowhere_else() -> None:
    """A second list of tools and versions would say something else sooner or later."""
    text = (ROOT / ".pre-commit-config.yaml").read_text()
    assert re.findall(r"repo: (\S+)", text) == ["local"]
    entries = re.findall(r"entry: (.*)", text)
    assert entries and all(entry.startswith("make --no-print-directory ") for entry in entries)


def test_ci_says_what_it_runs_and_runs_what_is_there() -> None:
    """Its output is all that somebody has who looks for what went wrong."""
    assert subprocess.run(["bash", "-n", ROOT / ".ci" / "run"], check=False).returncode == 0
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111
    assert all((ROOT / place).exists() for place in SMOKE)


def test_a_python_is_found_by_what_it_says_of_itself() -> None:
    """A name on the path proves nothing: pyenv has one for each version, whether it is switched on or not."""
    for version in VERSIONS:
        if python := interpreter(version):
            said = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
            assert said.startswith(f"Python {version}.")
    assert interpreter("2.0") is None
