"""What an agent reads of a whole call: every word of it, at a fraction of what EVI sends."""

import json

import pytest

from evi_mcp.quoting import quote
from scripts.measure_views import STYLES, Measured, measure

pytestmark = pytest.mark.anyio

TEXT = {"sleeps until something matters": 26, "wakes for every event": 20}
STRUCTURE = {"sleeps until something matters": 9, "wakes for every event": 7}


async def test_an_agent_reads_every_word_and_a_fraction_of_the_frames() -> None:
    """An agent pays for every character. The fractions are promised over whole calls (docs/views.md): text 1/26 of the
    frames without audio and structure 1/9 for an agent that sleeps until something matters, 1/20 and 1/7 for one that
    wakes for every event."""
    rows = await measure(speed=15)
    assert {row.call for row in rows} == {"billing", "booking", "quiet", "support"}
    assert {row.style for row in rows} == STYLES.keys()
    for row in rows:
        assert len(row.words) > 10
        _has_every_word(row)
        _has_every_event_in_both_forms(row)
        said = f"{row.call}, {row.style}: {row.frames_without_audio / row.text:.1f}"
        assert row.text * TEXT[row.style] <= row.frames_without_audio, said
        assert row.structure * STRUCTURE[row.style] <= row.frames_without_audio, said


def _has_every_word(row: Measured) -> None:
    texts, structures = "\n".join(row.texts), "\n".join(row.structures)
    for words in row.words:
        assert quote(words) in texts
        assert words.replace('"', '\\"') in structures


def _has_every_event_in_both_forms(row: Measured) -> None:
    """What is shorter has lost nothing: each event has its line, with its ids, its voice and who gave it."""
    for text, structure in zip(row.texts, map(json.loads, row.structures), strict=True):
        lines = {line[1:].partition("]")[0].partition(" ")[0].rstrip("*"): line for line in text.splitlines()[1:]}
        assert structure["cursor"] in text
        for event in structure["events"]:
            line = lines[str(event["seq"])]
            facts = [event.get(key, "") for key in ("tool_call_id", "name", "state", "code", "slug")]
            assert all(fact in line for fact in facts), line
            assert next(iter(event.get("expression", {"": 0}))) in line
        for call in structure.get("pending_tool_calls", []):
            assert call["tool_call_id"] in text
