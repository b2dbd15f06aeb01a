"""Writes constraints-lowest.txt, for `make lowest`.

It has the lowest version that pyproject.toml allows of each package that it names, and of the others what
constraints.txt has, where that goes together. `make test-all` runs the tests with it. Needs the tool `uv`, which pip
puts into `.venvs/uv`: pip itself cannot look for the lowest.
"""

import re
import subprocess
import tempfile
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
PINNED, LOWEST = ROOT / "constraints.txt", ROOT / "constraints-lowest.txt"
UV = ROOT / ".venvs" / "uv"
HEAD = "# The lowest versions that pyproject.toml allows; made by `make lowest`, tried by `make test-all`.\n"

_REQUIREMENT = re.compile(r"([\w.-]+)(?:\[.*])?>=([\d.]+)")


def bounds() -> dict[str, str]:
    """Each package that pyproject.toml names for using and testing this one, to the lowest version that it allows."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    found = (_REQUIREMENT.match(line) for line in project["dependencies"] + extras["dev"] + extras["socks"])
    return {normal(match[1]): match[2] for match in found if match}


def pins(path: Path) -> dict[str, str]:
    """Package to version, of a file of constraints."""
    lines = (line.partition("==") for line in path.read_text().splitlines() if not line.startswith("#"))
    return {normal(name): version for name, _, version in lines}


def normal(name: str) -> str:
    """The one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def compiled(kept: dict[str, str]) -> str:
    """What `uv` makes of pyproject.toml: a line for each package. It keeps to the versions in the file that it
    overwrites."""
    with tempfile.NamedTemporaryFile("w+", suffix=".txt") as file:
        file.writelines(f"{name}=={version}\n" for name, version in kept.items())
        file.flush()
        options = "--quiet --resolution lowest-direct --python-version 3.11 --extra dev --no-header --no-annotate"
        command = [str(UV / "bin" / "uv"), "pip", "compile", *options.split(), "--output-file", file.name]
        subprocess.run([*command, "pyproject.toml"], cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        return Path(file.name).read_text()


def main() -> None:
    if not (UV / "bin" / "uv").exists():
        venv.create(UV, with_pip=True)
        subprocess.run([UV / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", "uv"], check=True)
    named = bounds()
    LOWEST.write_text(HEAD + compiled({name: version for name, version in pins(PINNED).items() if name not in named}))


if __name__ == "__main__":
    main()
