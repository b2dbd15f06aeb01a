"""What an agent reads of a whole call: every word of it, at a fraction of what EVI sends."""

import pytest

from evi_mcp.quoting import quote
from scripts.measure_views import STYLES, Measured, measure

pytestmark = pytest.mark.anyio


async def test_an_agent_reads_every_word_and_a_fraction_of_the_frames() -> None:
    """An agent pays for every character; for an agent that sleeps until something matters the fractions are promised:
    text 1/20 and structure 1/8 of the frames without audio, over whole calls (docs/views.md)."""
    rows = await measure(speed=15)
    assert {row.call for row in rows} == {"billing", "booking", "quiet", "support"}
    for row in rows:
        assert len(row.words) > 10
        _has_every_word(row)
        if STYLES[row.style] is not None:
            assert row.text * 20 <= row.frames_without_audio, f"{row.call}: {row.frames_without_audio / row.text:.1f}"
            assert row.structure * 8 <= row.frames_without_audio, row.call


def _has_every_word(row: Measured) -> None:
    texts, structures = "\n".join(row.texts), "\n".join(row.structures)
    for words in row.words:
        assert quote(words) in texts
        assert words.replace('"', '\\"') in structures
