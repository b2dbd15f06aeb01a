"""What else `deploy/` has: the unit, the image and the compose file, as far as they can be tried without a system of
their own. Skipped where what checks them is not installed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evi_mcp.config import Settings, rows
from tests.http.rig import Served, serving

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SETTINGS = {row.variable for row in rows()}


def given(text: str) -> set[str]:
    """The settings that a file names."""
    return set(re.findall(r"\b(EVI_MCP_[A-Z_]+|HUME_API_KEY)\b", text))


@pytest.mark.parametrize("name", ["evi-mcp.service", "compose.yaml", "Dockerfile", "Caddyfile", "nginx.conf"])
def test_every_setting_that_is_named_is_one(name: str) -> None:
    """A setting that is mistyped is ignored, and a server without tokens starts."""
    assert given((DEPLOY / name).read_text()) <= SETTINGS


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path: Path) -> None:
    """Its own check: unknown directives, wrong values, a command that is not there."""
    if (analyze := shutil.which("systemd-analyze")) is None:
        pytest.skip("systemd-analyze is not installed here")
    unit = (DEPLOY / "evi-mcp.service").read_text()
    assert "ExecStart=/opt/evi-mcp/bin/evi-mcp serve" in unit
    checked = tmp_path / "evi-mcp.service"
    checked.write_text(unit.replace("/opt/evi-mcp/bin/evi-mcp", sys.executable))
    found = subprocess.run([analyze, "verify", str(checked)], capture_output=True, text=True, check=False)
    said = [line for line in (found.stdout + found.stderr).splitlines() if "evi-mcp.service" in line]
    assert found.returncode == 0 and not said, said


def test_the_unit_gives_the_server_as_long_as_it_takes() -> None:
    """It drains for as long as the settings say, and is gone 2 s later."""
    unit = (DEPLOY / "evi-mcp.service").read_text()
    drain = Settings().drain_s
    [stop] = re.findall(r"^TimeoutStopSec=(\d+)", unit, re.MULTILINE)
    [grace] = re.findall(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text())
    assert min(int(stop), int(grace)) > drain + 2


@pytest.mark.anyio
async def test_the_image_finds_out_whether_the_server_is_ready() -> None:
    """The very command of its HEALTHCHECK, against a server that is ready, that drains, and that is gone."""
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    [command] = re.findall(r'^HEALTHCHECK .*CMD \["python", "-c",\s+"(.*)"\]$', text, re.MULTILINE)

    async def healthy(served: Served) -> bool:
        from anyio import run_process

        code = command.replace("127.0.0.1:8000", served.address)
        return (await run_process([sys.executable, "-c", code], check=False)).returncode == 0

    async with serving() as served:
        assert await healthy(served)
        served.web.draining = True
        assert not await healthy(served)
    assert not await healthy(served)


def test_the_image_runs_a_command_that_there_is(tmp_path: Path) -> None:
    """With the arguments that it has; an address that is open to others is refused without tokens, in words."""
    text = (DEPLOY / "Dockerfile").read_text()
    [entry], [arguments] = (re.findall(rf"^{word} \[(.*)\]$", text, re.MULTILINE) for word in ("ENTRYPOINT", "CMD"))
    assert entry == '"evi-mcp"'
    given_ = [part.strip('", ') for part in shlex.split(arguments)]
    environment = {**os.environ, "HOME": str(tmp_path)}
    found = subprocess.run(
        [sys.executable, "-m", "evi_mcp", *given_], capture_output=True, text=True, check=False, env=environment
    )
    assert found.returncode == 2 and "is open to other machines" in found.stderr
