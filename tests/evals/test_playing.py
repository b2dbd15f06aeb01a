"""Whole calls in real server processes, with scripts in place of a model: good supervision is told from bad."""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from starlette.responses import JSONResponse

from evals.__main__ import play
from evals.agent import Limits
from evals.endpoint import Endpoint
from evals.record import Record
from evals.scoring import score
from evi_mcp.clock import SystemClock
from tests.evals.scripted import KEY, Message, Reading, Say, ScriptedEndpoint, bad, completion, good, scripted

pytestmark = pytest.mark.anyio
SPEED = 4.0
"""A busy machine has time for every command before the call ends."""
LIMITS = Limits(turns=200, seconds=90)


async def played(
    say: Say, call: str = "billing", limits: Limits = LIMITS, speed: float = SPEED
) -> tuple[Record, ScriptedEndpoint]:
    """One call with this script as the model."""
    async with scripted(say) as served, httpx.AsyncClient(trust_env=False) as client:
        endpoint = Endpoint(client, served.base_url, KEY, "scripted", SystemClock(), delays_s=(0,))
        with anyio.fail_after(120):
            return await play(endpoint, call, limits, speed, SystemClock()), served


async def run(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """`python -m evals` as a process: its status and what it wrote."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "evals", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**kept, **environment},
    )
    try:
        async with asyncio.timeout(120):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_a_good_supervisor_scores_well_and_the_caller_leaves_content() -> None:
    """The billing call is solved by a whisper, on real processes and sockets."""
    record, served = await played(good)
    result = score(record)
    assert record.ended == "call ended", record
    assert [asked.name for asked in record.asked] == ["list_charges", "refund_charge"]
    assert (result.in_time, result.wrong, result.doubled, result.left_paused) == (2, 0, 0, False), record.actions
    assert result.last_anger is not None and result.last_anger < 0.2 < (result.peak_anger or 0)
    assert result.points >= 95
    assert record.prompt_tokens == 100 * len(served.requests) == 100 * record.turns
    assert record.completion_tokens == 10 * record.turns


async def test_a_bad_supervisor_scores_badly_and_each_mistake_is_seen() -> None:
    """A harness that cannot tell the two apart measures nothing."""
    record, _ = await played(bad)
    result = score(record)
    outcomes = [action.outcome for action in record.actions]
    assert (outcomes.count("unknown_tool"), outcomes.count("malformed")) == (1, 1)
    answers = [action for action in record.actions if action.tool == "answer_tool_call"]
    assert len(answers) == 2 and answers[1].outcome == "refused"
    assert result.wrong == 2, record.actions
    assert result.doubled == 3, "an answer, a line and a pause"
    assert result.left_paused and (result.last_anger or 0) > 0.5
    assert result.points <= 50


async def test_a_supervisor_who_does_nothing_misses_every_tool_call() -> None:
    """It is told to go on, some times; then the agent is over, and the call is not."""
    record, served = await played(lambda messages, tools: "I am watching.", limits=Limits(seconds=7))
    result = score(record)
    assert record.ended == "gave up" and record.turns == 4 and not record.call_ended
    assert "still going on" in served.requests[-1]["messages"][-1]["content"]
    assert (result.asked, result.in_time, result.late) == (1, 0, 0)


async def test_a_call_is_watched_to_its_end_whatever_becomes_of_the_agent() -> None:
    """The caller goes on without it, and is what counts."""
    record, _ = await played(lambda messages, tools: "I am watching.", "quiet", speed=20)
    assert record.ended == "gave up" and record.call_ended
    assert len(record.angers) == 4


@pytest.mark.parametrize(
    ("limits", "ended"),
    [
        (Limits(turns=3, seconds=2), "turn limit"),
        (Limits(tokens=250, seconds=2), "token limit"),
        (Limits(seconds=1), "time limit"),
    ],
)
async def test_an_agent_is_stopped_at_its_limits(limits: Limits, ended: str) -> None:
    """Whoever pays for a model has a bound on it."""

    def patient(messages: Sequence[Message], tools: set[str]) -> Any:
        return [("wait_for_events", {"after": "latest", "timeout_s": 0.2})]

    record, _ = await played(patient, limits=limits, speed=1)
    assert record.ended == ended and record.seconds < 20
    assert record.turns == {"turn limit": 3, "token limit": 3}.get(ended, record.turns)


async def test_a_refusal_ends_the_agent() -> None:
    """A model that will not do it is no bad supervisor, and is told from one."""
    async with scripted(good) as served, httpx.AsyncClient(trust_env=False) as client:
        served.first = [lambda: JSONResponse(completion("I cannot help with that.", refusal="No."))]
        endpoint = Endpoint(client, served.base_url, KEY, "scripted", SystemClock(), delays_s=())
        record = await play(endpoint, "quiet", Limits(seconds=1), SPEED, SystemClock())
    assert record.ended == "refused" and record.turns == 1


async def test_a_call_that_the_agent_detaches_is_watched_on() -> None:
    """Detaching drops what the server knows of the call; its history comes again."""

    def leaves(messages: Sequence[Message], tools: set[str]) -> Any:
        seen = Reading(messages)
        return "Done." if seen.has("detach_chat") else [("detach_chat", {"chat_id": seen.chat_id})]

    record, _ = await played(leaves, "quiet", speed=10)
    assert record.ended == "gave up" and record.call_ended, record
    assert [action.outcome for action in record.actions if action.tool == "detach_chat"] == ["done"]
    assert len(record.angers) == 4


async def test_the_command_plays_calls_and_prints_a_table(tmp_path: Path) -> None:
    """`make evals`: two calls, their scores, and all details in a file; the key is in neither."""
    details = tmp_path / "details.json"
    async with scripted(good) as served:
        status, out, err = await run(
            *("support", "booking", "--speed", "12", "--json", str(details)),
            OPENAI_BASE_URL=served.base_url,
            OPENAI_API_KEY=KEY,
            EVALS_MODEL="scripted",
        )
        assert status == 0, err
        assert set(served.keys) == {f"Bearer {KEY}"}
    lines = out.splitlines()
    assert [line.split(" | ")[0].strip("| ") for line in lines[:4]] == ["call", "-" * 7, "support", "booking"]
    assert lines[-1].endswith("points of 100 on average")
    found = json.loads(details.read_text())
    assert [one["call"] for one in found] == ["support", "booking"]
    assert found[1]["score"]["in_time"] == 2 and found[0]["messages"][0]["role"] == "system"
    assert KEY not in out + err + details.read_text()


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "said"),
    [
        ([], {}, 2, "OPENAI_BASE_URL"),
        ([], {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"}, 2, "EVALS_MODEL"),
        (["bill"], {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "EVALS_MODEL": "m"}, 2, "billing"),
    ],
)
async def test_misuse_of_the_command_is_status_two(
    arguments: list[str], environment: dict[str, str], status: int, said: str
) -> None:
    assert ((found := await run(*arguments, **environment))[0], said in found[2]) == (status, True), found


async def test_a_run_whose_endpoint_failed_is_no_success() -> None:
    """A table of zeros for a wrong key would be believed."""
    async with scripted(good) as served:
        served.first = [lambda: JSONResponse({"error": {"message": "no such model"}}, 404)]
        status, out, _ = await run(*("quiet", "--seconds", "1"), OPENAI_BASE_URL=served.base_url, EVALS_MODEL="nobody")
    assert status == 1 and "endpoint failed: it answered 404" in out and "no such model" in out


async def test_last_words_at_the_end_of_a_call_are_no_giving_up() -> None:
    """A model that has nothing left to do says so."""

    def concludes(messages: Sequence[Message], tools: set[str]) -> Any:
        seen = Reading(messages)
        return "The call is over." if "chat_ended" in seen.text else [seen.wait()]

    record, _ = await played(concludes, "quiet", speed=20)
    assert record.ended == "call ended", record.messages[-3:]
