"""The MCP conformance suite runs against our server, in both revisions of the protocol, bare and behind tokens.

Runs where npm and its registry are, and says so where they are not.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from evi_mcp.access.callers import Access
from evi_mcp.access.token_edits import add
from evi_mcp.server.http.listening import server
from evi_mcp.serving import listen
from tests.http.rig import serving
from tests.npm import npm_folder, recent_node

CONFORMANCE = "@modelcontextprotocol/conformance"
VERSION = "0.2.0-alpha.12"
NODE_NEEDED = (22, 0)
INSTALL_TIMEOUT_S = 90
RUN_TIMEOUT_S = 90

BOTH = {
    "tools-list",
    "tools-call-error",
    "resources-list",
    "prompts-list",
    "completion-complete",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
}
MUST_PASS = {
    "2025-11-25": {
        *BOTH,
        "server-initialize",
        "server-session-lifecycle",
        "ping",
        "resources-subscribe",
        "resources-unsubscribe",
    },
    "2026-07-28": {
        *BOTH,
        "server-stateless",
        "sep-2164-resource-not-found",
        "caching",
        "http-header-validation",
        "http-custom-header-server-validation",
        "input-required-result-unsupported-methods",
        "input-required-result-ignore-extra-params",
    },
}
"""Revision to the scenarios that ask nothing of a server but the protocol."""

OF_THE_SUITE = "it asks for what a server made for this suite has, and no other"
ASKS_BACK = "no tool here asks its client for anything in the middle of a call"
NO_TASKS = "the tasks extension is not served: a wait is a call that lasts, and its cursor resumes it"
EXPECTED_TO_FAIL = {
    "tools-call-audio": OF_THE_SUITE,
    "tools-call-embedded-resource": OF_THE_SUITE,
    "tools-call-image": OF_THE_SUITE,
    "tools-call-mixed-content": OF_THE_SUITE,
    "tools-call-with-logging": OF_THE_SUITE,
    "tools-call-with-progress": OF_THE_SUITE,
    "prompts-get-embedded-resource": OF_THE_SUITE,
    "prompts-get-simple": OF_THE_SUITE,
    "prompts-get-with-args": OF_THE_SUITE,
    "prompts-get-with-image": OF_THE_SUITE,
    "resources-read-binary": OF_THE_SUITE,
    "resources-read-text": OF_THE_SUITE,
    "resources-templates-read": OF_THE_SUITE,
    "json-schema-2020-12": OF_THE_SUITE,
    "tools-call-elicitation": ASKS_BACK,
    "tools-call-sampling": ASKS_BACK,
    "elicitation-sep1034-defaults": ASKS_BACK,
    "elicitation-sep1330-enums": ASKS_BACK,
    "input-required-result-basic-elicitation": ASKS_BACK,
    "input-required-result-basic-list-roots": ASKS_BACK,
    "input-required-result-basic-sampling": ASKS_BACK,
    "input-required-result-capability-check": ASKS_BACK,
    "input-required-result-missing-input-response": ASKS_BACK,
    "input-required-result-multi-round": ASKS_BACK,
    "input-required-result-multiple-input-requests": ASKS_BACK,
    "input-required-result-non-tool-request": ASKS_BACK,
    "input-required-result-request-state": ASKS_BACK,
    "input-required-result-result-type": ASKS_BACK,
    "input-required-result-tampered-state": ASKS_BACK,
    "input-required-result-validate-input": ASKS_BACK,
    "tasks-capability-negotiation": NO_TASKS,
    "tasks-dispatch-and-envelope": NO_TASKS,
    "tasks-lifecycle": NO_TASKS,
    "tasks-mrtr-composition": NO_TASKS,
    "tasks-mrtr-input": NO_TASKS,
    "tasks-request-headers": NO_TASKS,
    "tasks-request-state-removal": NO_TASKS,
    "tasks-required-task-error": NO_TASKS,
    "tasks-wire-fields": NO_TASKS,
    "logging-set-level": "the log is on stderr; logging over MCP is deprecated since 2026-07-28",
    "server-sse-polling": "it wants a store of events to resume a stream: here a cursor resumes a wait",
}
"""The scenarios that are left out, and why. One that is neither here nor above is new, and has to be looked at."""

PASS_BY_ACCIDENT = {
    "tools-call-simple-text": "that there is no such tool is a text, too",
    "tasks-status-notifications": "no task, no notification",
}
"""Those that say nothing of this server, although it passes."""

NEED_TEST_TOOLS = {
    "sep-2575-server-rejects-undeclared-capability",
    "sep-2575-missing-capability-http-400",
    "sep-2575-server-sends-prompts-list-changed-on-subscription",
    "sep-2575-server-sends-tools-list-changed-on-subscription",
}
"""The checks of `server-stateless` that call for such tools, too."""

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def suite(request: pytest.FixtureRequest) -> list[str]:
    """The command that runs the suite."""
    node = recent_node(request, NODE_NEEDED, timeout_s=INSTALL_TIMEOUT_S)
    folder = npm_folder(request, "conformance", f"{CONFORMANCE}@{VERSION}", timeout_s=INSTALL_TIMEOUT_S)
    return [str(node), str(folder / "node_modules" / ".bin" / "conformance"), "server"]


@asynccontextmanager
async def at(way: str, folder: Path) -> AsyncIterator[str]:
    """The address of a server that is attached to no chat. The suite can send no token, so somebody adds it."""
    tokens = folder / "tokens.toml"
    token = add(tokens, "suite", access=Access.BARGE)
    settings: dict[str, Any] = {"tokens": str(tokens)} if way == "behind tokens" else {}
    async with serving(**settings) as served:
        if way == "bare":
            yield served.url
            return
        with listen("127.0.0.1", 0) as listener:
            adding = server(_adding(served.web.app, token), "127.0.0.1", 1000)
            async with anyio.create_task_group() as group:
                group.start_soon(adding.serve, [listener])
                yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
                served.web.running.end_all()
                adding.should_exit = True


def _adding(app: ASGIApp, token: str) -> ASGIApp:
    async def with_token(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [*scope["headers"], (b"authorization", f"Bearer {token}".encode())]
        await app({**scope, "headers": headers}, receive, send)

    return with_token


def results(folder: Path) -> dict[str, dict[str, str]]:
    """Scenario to what did not succeed in it: check to message."""
    found = {}
    for file in folder.glob("server-*/checks.json"):
        name = re.fullmatch(r"server-(.+)-\d{4}-\d\d-\d\dT.*", file.parent.name)
        assert name is not None, file
        checks = json.loads(file.read_text())
        found[name[1]] = {
            check["id"]: str(check.get("errorMessage")) for check in checks if check["status"] in ("FAILURE", "WARNING")
        }
    return found


@pytest.mark.parametrize("way", ["bare", "behind tokens"])
@pytest.mark.parametrize("revision", sorted(MUST_PASS))
async def test_what_the_protocol_asks_of_every_server_holds(
    suite: list[str], tmp_path: Path, revision: str, way: str
) -> None:
    """Recommendations count, too. The suite's own verdict is no help: it fails for each test tool that is missing."""
    async with at(way, tmp_path) as url:
        with anyio.fail_after(RUN_TIMEOUT_S):
            await anyio.run_process(
                [*suite, "--url", url, "--requirements", revision, "-o", str(tmp_path / "found")], check=False
            )
    found = results(tmp_path / "found")
    known = MUST_PASS[revision] | EXPECTED_TO_FAIL.keys() | PASS_BY_ACCIDENT.keys()
    assert found.keys() >= MUST_PASS[revision], "some were not run"
    assert found.keys() <= known, "there are new ones"
    assert not {name for name in EXPECTED_TO_FAIL.keys() & found.keys() if not found[name]}, "they pass now: hold them"
    failed = {name: found[name] for name in MUST_PASS[revision]}
    for check in NEED_TEST_TOOLS:
        failed.get("server-stateless", {}).pop(check, None)
    assert not {name: checks for name, checks in failed.items() if checks}
