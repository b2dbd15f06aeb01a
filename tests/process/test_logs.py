"""The log: structured, on stderr, and silent about what is said."""

import logging
import re

import pytest

from evi_mcp.logs import KeyValueFormatter, fields
from tests import frames
from tests.fake_evi import FakeEvi
from tests.process.conftest import evi_mcp

PAIRS = re.compile(r'([a-z_]+)=("(?:[^"\\]|\\.)*"|[^\s"]+)')


@pytest.mark.anyio
@pytest.mark.parametrize("level", ["INFO", "DEBUG"])
async def test_state_changes_are_a_line_each_and_events_are_not_above_debug(evi: FakeEvi, level: str) -> None:
    """An operator reads what became of a chat; at no level does the log hold what a caller said."""
    evi.history["c-1"] = [frames.metadata("c-1"), frames.user("MARK words", 100), frames.assistant("MARK answer")]
    async with evi_mcp(evi=evi, EVI_MCP_LOG_LEVEL=level) as server:
        await server.initialize()
        await server.call("attach_chat", chat_id="c-1")
        await server.call("send_user_input", chat_id="c-1", text="MARK typed", wait_for_effect_s=0)
        await evi.push("c-1", frames.tool_call("call_1", "MARK", '{"a": "MARK"}'), frames.error(message="MARK"))
        evi.cut("c-1")
        await server.call("wait_for_events", types=["chat_state"], timeout_s=5)
        await server.call("detach_chat", chat_id="c-1")
        server.end_input()
        status, log = await server.ended()
    assert status == 0
    ours = [dict(PAIRS.findall(line)) for line in log.splitlines() if "logger=evi_mcp" in line]
    assert ours and all({"time", "level", "logger", "msg"} <= pairs.keys() for pairs in ours)
    states = [pairs["state"] for pairs in ours if pairs["msg"] == '"chat state"']
    assert states[:2] == ["live", "reconnecting"] and states[-1] == "ended"
    assert all(pairs["chat_id"] == "c-1" for pairs in ours if pairs["msg"] == '"chat state"')
    events = [pairs for pairs in ours if pairs["msg"] == "event"]
    assert bool(events) == (level == "DEBUG")
    assert all(pairs["level"] == "DEBUG" for pairs in events)
    assert "MARK" not in log


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    """A service could write lines of its own into the log otherwise."""
    record = logging.LogRecord("evi_mcp.x", logging.INFO, "", 0, "chat\nstate", None, None)
    record.__dict__.update(fields(reason='x" state=live\ntime=1', chat_id="c-1", none=None))
    line = KeyValueFormatter().format(record)
    assert len(line.splitlines()) == 1 and "none=" not in line
    assert dict(PAIRS.findall(line))["chat_id"] == "c-1"
    assert [key for key, _ in PAIRS.findall(line)] == ["time", "level", "logger", "msg", "reason", "chat_id"]
