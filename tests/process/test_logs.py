"""The log: structured, on stderr, and silent about what is said."""

import logging
import re

import pytest

from evi_mcp.logs import MAX_REPEATED, REPEAT_S, KeyValueFormatter, Repeats, fields
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


def record(logger: str, message: str, *arguments: object) -> logging.LogRecord:
    return logging.LogRecord(logger, logging.WARNING, "", 0, message, arguments, None)


def said(record: logging.LogRecord) -> dict[str, str]:
    return dict(PAIRS.findall(KeyValueFormatter().format(record)))


def test_what_a_client_can_cause_is_logged_once_and_then_counted() -> None:
    """Issue: one client's noise must not be a line of log each time. No count is lost, nor logged twice."""
    now = 0.0
    repeats = Repeats(lambda: now)
    assert repeats.filter(record("mcp.server.runner", "dropped %r", "a"))
    assert not any(repeats.filter(record("mcp.server.runner", "dropped %r", str(n))) for n in range(699))
    assert repeats.filter(record("mcp.server.runner", "something else"))
    now = REPEAT_S - 1
    assert not repeats.filter(record("mcp.server.runner", "dropped %r", "b"))
    now = REPEAT_S
    again = record("mcp.server.runner", "dropped %r", "c")
    assert repeats.filter(again) and said(again)["repeated"] == "700"
    assert not repeats.filter(record("mcp.server.runner", "dropped %r", "d"))
    [left] = repeats.left_out()
    assert said(left)["msg"] == '"dropped %r"' and said(left)["repeated"] == "1"
    assert not repeats.left_out()


def test_what_concerns_a_chat_is_logged_each_time() -> None:
    """A thousand chats that are lost at once are a thousand lines: each is news to somebody."""
    repeats = Repeats(lambda: 0.0)
    assert all(repeats.filter(record("evi_mcp.supervision.live_chat", "chat state")) for _ in range(1000))


def test_the_kinds_of_lines_that_are_counted_are_bounded() -> None:
    """A library may put what a client sent into its message, and so make each another kind."""
    repeats = Repeats(lambda: 0.0)
    for number in range(10 * MAX_REPEATED):
        repeats.filter(record("mcp.server", f"odd {number}"))
        assert len(repeats._kinds) <= MAX_REPEATED


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    """A service could write lines of its own into the log otherwise."""
    odd = record("evi_mcp.x", "chat\nstate")
    odd.__dict__.update(fields(reason='x" state=live\ntime=1', chat_id="c-1", none=None))
    line = KeyValueFormatter().format(odd)
    assert len(line.splitlines()) == 1 and "none=" not in line
    assert dict(PAIRS.findall(line))["chat_id"] == "c-1"
    assert [key for key, _ in PAIRS.findall(line)] == ["time", "level", "logger", "msg", "reason", "chat_id"]
