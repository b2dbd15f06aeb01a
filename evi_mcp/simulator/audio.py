"""EVI's voice in the simulator: a soft tone for each word, as small complete WAVs.

EVI sends `audio_output` as WAVs of 48 kHz (Hume's audio guide), 16-bit mono as its official examples decode them.
A chunk here lasts 40 to 100 ms, so that frames stay small. Tones are made once, and shared by every frame.
"""

import base64
import io
import math
import wave
from array import array
from functools import cache
from typing import NamedTuple

SAMPLE_RATE = 48_000
MAX_CHUNKS = 60
"""The most chunks of one message, about half a minute at speed 1; words beyond it stay without a tone."""

_PITCHES = (174.6, 196.0, 220.0, 233.1, 261.6, 293.7, 329.6, 349.2)  # Hz, an F major scale from F3
_AMPLITUDE = 2_600  # of 32767: audible and never loud
_FADE_S = 0.012  # without it each chunk would begin and end with a click
_SHORTEST_MS, _MS_FOR_A_LETTER, _LONGEST_MS = 40, 8, 100


class Tone(NamedTuple):
    """A pitch, as an index into the scale, and a length in milliseconds."""

    pitch: int
    length_ms: int


def tones(text: str) -> list[Tone]:
    """A tone for each word: longer words sound longer, equal words sound alike."""
    return [_tone(word) for word in text.split(maxsplit=MAX_CHUNKS)[:MAX_CHUNKS]]


def _tone(word: str) -> Tone:
    letters = word[:20]
    length = min(_SHORTEST_MS + _MS_FOR_A_LETTER * len(letters), _LONGEST_MS)
    return Tone(sum(map(ord, letters)) % len(_PITCHES), length)


@cache  # 8 pitches and at most 9 lengths
def wav_base64(tone: Tone) -> str:
    """The tone as a WAV in base64, as it stands in `data` of an `audio_output`."""
    count = SAMPLE_RATE * tone.length_ms // 1000
    fade = int(SAMPLE_RATE * _FADE_S)
    step = 2 * math.pi * _PITCHES[tone.pitch] / SAMPLE_RATE
    samples = array(
        "h", (int(_AMPLITUDE * min(1.0, i / fade, (count - i) / fade) * math.sin(i * step)) for i in range(count))
    )
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(SAMPLE_RATE)
        out.writeframes(samples.tobytes())  # `wave` swaps the bytes where the machine is big-endian
    return base64.b64encode(buffer.getvalue()).decode("ascii")
