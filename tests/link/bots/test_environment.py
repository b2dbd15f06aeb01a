"""evi-mcp and the bots that it supervises live in one environment."""

import subprocess
from pathlib import Path

import pytest

CHECK = """
from importlib.metadata import distribution, version
from packaging.requirements import Requirement
for name in ("evi-mcp", "pipecat-ai", "livekit-agents"):
    for line in distribution(name).requires or []:
        needed = Requirement(line)
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            assert needed.specifier.contains(version(needed.name), prereleases=True), (name, line, version(needed.name))
    print(name, version(name))
"""


def test_everything_that_each_of_them_needs_is_there(bots_python: Path) -> None:
    """Contract, section 9: evi-mcp installs beside the newest Pipecat and LiveKit agents, and no demands conflict."""
    run = subprocess.run([bots_python, "-c", CHECK], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert [line.split()[0] for line in run.stdout.splitlines()] == ["evi-mcp", "pipecat-ai", "livekit-agents"]


@pytest.mark.parametrize("package", ["pipecat", "livekit"])
def test_supervision_of_one_needs_nothing_of_the_other_nor_of_mcp(bots_python: Path, package: str) -> None:
    """A bot that has one of them must not have to install, or wait for, the other."""
    other = {"pipecat": "livekit", "livekit": "pipecat"}[package]
    code = f"import sys, evi_mcp.link.{package}; print({{'mcp', 'anyio_mcp', '{other}'}} & set(sys.modules))"
    run = subprocess.run([bots_python, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"
