"""Expression measurements that look like EVI's: 48 scores, a few of them high, the rest a low murmur."""

import struct
from collections.abc import Mapping
from random import Random

from evi_mcp.protocol.prosody import SCORE_NAMES

_MURMUR = (0.004, 0.045)  # the range of scores that nothing in the voice speaks for
_SPREAD = 0.03  # how far a score of the script is off, up or down


def scores(peaks: Mapping[str, float], chance: Random) -> dict[str, float]:
    """All 48 scores of one utterance, each between 0 and 1.

    Half-precision numbers written out in full, such as 0.028717041015625, as in the recorded message of
    `AssistantMessageTest.swift` of Hume's Swift SDK.

    Args:
        peaks: The scores that stand out, by their name in `SCORE_NAMES`.
        chance: Seeded, so that a run can be repeated.
    """
    measured = {name: chance.uniform(*_MURMUR) for name in SCORE_NAMES}
    for name, score in peaks.items():
        measured[name] = min(1.0, max(0.0, score + chance.uniform(-_SPREAD, _SPREAD)))
    return {name: _half(score) for name, score in measured.items()}


def _half(score: float) -> float:
    half: float = struct.unpack("e", struct.pack("e", score))[0]
    return half
