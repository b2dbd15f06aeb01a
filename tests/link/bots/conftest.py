"""Real bots: Pipecat's and LiveKit's own packages, in an environment of their own that is made once."""

import fcntl
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent
VENV = ROOT / ".venv-bots"
INSTALL_TIMEOUT_S = 600


@pytest.fixture(scope="session")
def bots_python() -> Path:
    """The Python that has the bots' packages; skips the test where they cannot be installed."""
    with (ROOT / ".venv-bots.lock").open("w") as lock:  # for tests that run beside each other
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, wanted = VENV / ".tested-with", _digest("pyproject.toml", "scripts/install_bots.sh")
        if not stamp.exists() or stamp.read_text() != wanted:
            install = ["sh", str(ROOT / "scripts" / "install_bots.sh"), str(VENV)]
            try:
                environment = os.environ | {"PYTHON": sys.executable}
                subprocess.run(install, check=True, capture_output=True, timeout=INSTALL_TIMEOUT_S, env=environment)
            except (subprocess.SubprocessError, OSError) as error:
                pytest.skip(f"Pipecat and LiveKit agents could not be installed ({type(error).__name__}): make bots")
            stamp.write_text(wanted)
    return VENV / "bin" / "python"


def _digest(*files: str) -> str:
    return hashlib.sha256(b"".join((ROOT / file).read_bytes() for file in files)).hexdigest()
