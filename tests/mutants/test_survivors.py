"""What a mutation run lists is what no test noticed, and what was accepted is still there."""

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, TESTS, chosen
from tests.mutants.survivors import Accepted, Change, accepted, told

KILLED = Change("evi_mcp/chat/a.py", "f", "killed")
SURVIVED = Change("evi_mcp/chat/a.py", "A.g", "survived", was="if a > b:", now="if a >= b:")
OTHER = Change("evi_mcp/chat/a.py", "A.g", "survived", was="if a > b:", now="if a < b:")
NOT_RUN = Change("evi_mcp/chat/a.py", "h", "no tests")


def functions(path: Path) -> dict[str, str]:
    """The source of each function and method of a file, on one line, by its name with that of its class."""
    text = path.read_text()
    found = {}
    for node in ast.parse(text).body:
        for inner in node.body if isinstance(node, ast.ClassDef) else [node]:
            if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef):
                owner = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
                found[owner + inner.name] = " ".join((ast.get_source_segment(text, inner) or "").split())
    return found


@pytest.mark.parametrize("entry", accepted(), ids=lambda entry: f"{entry.function}: {entry.was[:40]}")
def test_what_is_accepted_is_still_there_and_has_a_reason(entry: Accepted) -> None:
    """A list that only grows hides the next gap behind the last one."""
    assert entry.was in functions(ROOT / entry.path)[entry.function]
    assert entry.why.strip()


def test_a_survivor_is_listed_with_its_line_and_what_became_of_it() -> None:
    """That is all it takes to write the test."""
    *listed, counts = told([KILLED, SURVIVED, OTHER, NOT_RUN], [])
    assert listed == [
        "evi_mcp/chat/a.py A.g",
        "    if a > b:",
        "      survives as  if a >= b:",
        "      survives as  if a < b:",
        "evi_mcp/chat/a.py: no test of this run calls h",
    ]
    assert counts.startswith("4 changes: 1 noticed, 2 survived, 0 survived and are accepted, 1 in functions")


def test_what_is_accepted_is_counted_and_not_listed() -> None:
    """An entry means the changes that it names, or every change of its line."""
    one = Accepted("evi_mcp/chat/a.py", "A.g", "if a > b:", "the same", now=("if a >= b:",))
    listed = list(told([SURVIVED, OTHER], [one]))
    assert "      survives as  if a < b:" in listed
    assert "      survives as  if a >= b:" not in listed
    assert "1 survived, 1 survived and are accepted" in listed[-1]
    every = Accepted("evi_mcp/chat/a.py", "A.g", "if a > b:", "the same")
    assert "0 survived, 2 survived and are accepted" in list(told([SURVIVED, OTHER], [every]))[-1]


def test_files_are_taken_to_the_tests_of_their_package() -> None:
    """By file, by folder, or all of them; what has no tests to meet is refused, not passed over."""
    assert chosen(["evi_mcp/chat/pause.py"]) == {"chat": ["evi_mcp/chat/pause.py"]}
    assert set(chosen([])) == set(TESTS)
    assert "evi_mcp/supervision/actions/speaking.py" in chosen(["evi_mcp/supervision"])["supervision"]
    for wrong in ("evi_mcp/server/server.py", "evi_mcp/chat/no_such_file.py", "README.md", "/etc/passwd"):
        with pytest.raises(SystemExit):
            chosen([wrong])


def test_every_folder_of_tests_is_there() -> None:
    """A table that names what was moved away would find everything to survive."""
    assert all((ROOT / place).is_dir() for places in TESTS.values() for place in places)
