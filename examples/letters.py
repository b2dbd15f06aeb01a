"""A sound for each letter, so that the example bots need no speech models: what is said can be read from the audio.

A letter is a level that is held for 6 ms, and 2 ms of silence. It survives resampling and any cutting into frames.
"""

import sys
from array import array

LETTER_S, GAP_S = 0.006, 0.002
TAIL_S = 0.1  # resamplers keep the last milliseconds to themselves
_STEP, _FIRST = 250, 31  # levels from 250 (a space) up to 24,000
_THRESHOLD = 125


def sound_of(text: str, rate: int) -> bytes:
    """16-bit mono PCM that says this text; what is not ASCII sounds like a question mark."""
    sound = array("h")
    for letter in text:
        code = ord(letter) if 32 <= ord(letter) < 127 else ord("?")
        sound.extend([(code - _FIRST) * _STEP] * round(rate * LETTER_S))
        sound.extend([0] * round(rate * GAP_S))
    sound.extend([0] * round(rate * TAIL_S))
    return _bytes(sound)


class Reader:
    """Reads the letters out of a stream of audio."""

    def __init__(self, rate: int) -> None:
        self._shortest = rate * LETTER_S / 2
        self._level: list[int] = []
        self.silence = 0.0
        """Seconds since the last letter."""
        self._rate = rate

    def read(self, pcm: bytes) -> str:
        """The letters that ended in this piece."""
        letters = ""
        samples = array("h", pcm)
        if sys.byteorder == "big":
            samples.byteswap()
        for sample in samples:
            if abs(sample) > _THRESHOLD:
                self._level.append(sample)
                continue
            self.silence += 1 / self._rate
            if len(self._level) > self._shortest:
                middle = self._level[len(self._level) // 3 : -(len(self._level) // 3)]
                letters += chr(round(sum(middle) / len(middle) / _STEP) + _FIRST)
                self.silence = 0.0
            self._level.clear()
        return letters


def _bytes(samples: "array[int]") -> bytes:
    if sys.byteorder == "big":
        samples.byteswap()
    return samples.tobytes()
