"""Imports point one way: what is pure knows nothing of sockets, and nothing but the edge knows of MCP."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "evi_mcp"

OURS = {
    "addresses": set(),
    "quoting": set(),
    "times": set(),
    "opened": set(),
    "wakeups": set(),
    "uris": set(),
    "clock": {"times"},
    "errors": {"quoting"},
    "writer": set(),
    "serving": {"errors"},
    "logs": {"quoting", "times", "writer"},
    "ending": {"errors", "logs"},
    "protocol": {"errors", "quoting"},
    "access": {"clock", "errors", "logs", "protocol", "quoting"},
    "config": {"addresses", "access", "protocol", "quoting", "errors"},
    "chat": {"protocol", "errors", "times"},
    "ledger": {"access", "chat", "errors", "protocol"},
    "upstream": {"addresses", "clock", "protocol", "errors", "quoting"},
    "audit": {"access", "clock", "ledger", "protocol", "errors", "logs", "quoting", "times"},
    "supervision": {
        "access",
        "audit",
        "chat",
        "clock",
        "config",
        "errors",
        "ledger",
        "logs",
        "protocol",
        "quoting",
        "upstream",
        "wakeups",
    },
    "views": {"ledger", "chat", "protocol", "errors", "quoting", "times"},
    "server": {
        "access",
        "addresses",
        "chat",
        "clock",
        "config",
        "ending",
        "errors",
        "ledger",
        "logs",
        "protocol",
        "quoting",
        "serving",
        "supervision",
        "times",
        "upstream",
        "uris",
        "views",
        "writer",
    },
    "hub": {"clock", "upstream", "opened", "protocol", "errors", "logs", "serving"},
    "openai_realtime": {"clock", "errors", "hub", "logs", "opened", "protocol", "quoting", "upstream"},
    "simulator": {"clock", "hub", "opened", "protocol", "errors", "serving"},
    "link": set(),
    "cli": {
        "access",
        "addresses",
        "audit",
        "chat",
        "clock",
        "config",
        "ending",
        "errors",
        "hub",
        "logs",
        "protocol",
        "quoting",
        "server",
        "serving",
        "openai_realtime",
        "simulator",
        "supervision",
        "upstream",
        "views",
        "writer",
    },
    "__init__": set(),
    "__main__": {"cli", "ending"},
}
"""Layer to the layers of ours that it may import. A layer is a package or a module directly under `evi_mcp`."""

THEIRS = {
    "websockets": {
        "upstream/websocket.py",
        "upstream/connection.py",
        "upstream/framing.py",
        "link/connecting.py",
        "link/dialing.py",
        "openai_realtime/sideband.py",
    },
    "pipecat": {"link/pipecat/"},
    "livekit": {"link/livekit/"},
    "starlette": {
        "serving.py",
        "hub/",
        "openai_realtime/intake.py",
        "simulator/primary.py",
        "simulator/openai/service.py",
        "simulator/openai/sidebands.py",
        "server/sdk.py",
        "server/http/",
    },
    "uvicorn": {"serving.py", "hub/server.py", "server/http/listening.py"},
    "jwt": {"access/"},
    "tomlkit": {"access/token_edits.py"},
    "httpx": {"upstream/http_client.py", "openai_realtime/rest.py"},
    "mcp": {"server/", "cli/demo/"},
    "mcp_types": {"server/", "cli/demo/"},
    "click": {"cli/main.py", "cli/hub.py", "cli/token.py", "cli/doctor.py", "cli/simulated.py"},
    "rich": {"cli/terminal/", "cli/demo/"},
    "anyio": {
        "clock.py",
        "wakeups.py",
        "access/",
        "ledger/journal.py",
        "audit/log.py",
        "supervision/",
        "upstream/",
        "server/",
        "hub/",
        "openai_realtime/",
        "simulator/",
        "cli/",
    },
    "asyncio": {
        "ending.py",
        "openai_realtime/sideband.py",
        "upstream/websocket.py",
        "upstream/connection.py",
        "server/stdio.py",
        "server/pipes.py",
        "server/http/",
        "hub/server.py",
        "link/",
        "cli/",
    },
}
"""Package to the files (or folders) that may import it."""

BEHIND_A_SEAM = {"audit": {"supervision/service.py", "cli/"}}
"""Layer to the files (or folders) that may name it, since they put the server together; all others know the seam."""

PURE = ("protocol", "chat", "views")
PURE_MODULES = {
    "hub": {
        "chat",
        "chats",
        "closes",
        "commands",
        "consumers",
        "event_types",
        "facts",
        "hello",
        "history",
        "json_frames",
        "link_connections",
        "links",
        "mirrors",
        "rest",
    },
    "openai_realtime": {
        "calls_asked",
        "commands",
        "declared",
        "endings",
        "floor",
        "heard",
        "outbox",
        "pausing",
        "reading",
        "recap",
        "repair",
        "responses",
        "settings",
        "speech",
        "tickets",
        "timeline",
        "translator",
        "utterances",
        "webhooks",
    },
    "simulator": {
        "assistant",
        "caller",
        "mood",
        "processes",
        "responder",
        "scenario",
        "scripted_user",
        "speaker",
        "whispers",
    },
}
"""Of layers that are not pure as a whole."""
IMPURE_MODULES = {"asyncio", "anyio", "socket", "time", "random", "threading", "subprocess", "os", "secrets"}

FILES = sorted(path for path in ROOT.rglob("*.py"))


def layer_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports_of(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_what_lies_below_it(path: Path) -> None:
    """A layer that reaches up, or around, is where a design starts to rot."""
    layer, name = layer_of(path), str(path.relative_to(ROOT))
    imported = imports_of(path)
    ours = {module.split(".")[1] for module in imported if module.startswith("evi_mcp.")} - {layer, "__version__"}
    assert ours <= OURS[layer], f"{name} may not import {ours - OURS[layer]}"
    for module in {module.split(".")[0] for module in imported} & set(THEIRS):
        assert any(name.startswith(place) for place in THEIRS[module]), f"{name} may not import {module}"
    for seen in ours & set(BEHIND_A_SEAM):
        assert any(name.startswith(place) for place in BEHIND_A_SEAM[seen]), f"{name} may not import {seen}"
    if layer in PURE or path.stem in PURE_MODULES.get(layer, set()):
        assert not {module.split(".")[0] for module in imported} & IMPURE_MODULES, f"{name} is to be pure"


def test_every_layer_is_in_the_table() -> None:
    """A new module has to be given its place."""
    assert {layer_of(path) for path in FILES} == set(OURS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_only_one_module_touches_what_the_sdk_keeps_private(path: Path) -> None:
    """Private surface changes without notice: it stays where a test and one reader can watch it."""
    if path.relative_to(ROOT).as_posix() != "server/sdk.py":
        assert "_lowlevel_server" not in path.read_text() and "._connection" not in path.read_text().replace(
            "self._connection", ""
        )


def test_no_module_is_longer_than_four_hundred_lines() -> None:
    """Beyond that it is more than one thing."""
    long = {str(path): count for path in FILES if (count := len(path.read_text().splitlines())) > 400}
    assert not long
