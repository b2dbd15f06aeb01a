"""Joins the chunks of a message into one WAV.

Each chunk of an `audio_output` is base64 of a small complete WAV, 48 kHz (Hume's audio guide), 16-bit mono as its
official examples decode them. Other PCM is taken too, and headers as streaming writers leave them. The `wave` module
of the standard library takes neither sizes of 0 nor, before Python 3.12, WAVE_FORMAT_EXTENSIBLE, hence the parser.
"""

import base64
import struct
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from evi_mcp.errors import UnusableAudio

_PCM, _EXTENSIBLE = 0x0001, 0xFFFE
_HEADER = struct.Struct("<4sI4s4sIHHIIHH4sI")
_NOT_YET = 0  # what a writer that cannot go back leaves as a size
_MAX_NOTES = 10


class Format(NamedTuple):
    """How PCM is to be read: `rate` in Hz, `bits` of one sample."""

    channels: int
    rate: int
    bits: int

    @property
    def frame_size(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * ((self.bits + 7) // 8)

    def __str__(self) -> str:
        return f"{self.rate} Hz, {self.bits} bit, {self.channels} channel{'s' if self.channels > 1 else ''}"


class Joined(NamedTuple):
    """A whole WAV file, and what is missing in it, in words."""

    wav: bytes
    notes: list[str]


def join(chunks: Iterable[tuple[int, str]]) -> Joined:
    """One WAV of chunks, as (index, base64) in order. Notes say which chunks are missing or could not be read.

    Raises:
        UnusableAudio: No chunk can be read, or they differ in format.
    """
    parts: list[bytes] = []
    formats: dict[Format, None] = {}
    notes: list[str] = []
    indices: list[int] = []
    for index, data in chunks:
        indices.append(index)
        try:
            kind, frames = _read(_decoded(data))
        except _Unreadable as error:
            notes.append(f"chunk {index} was left out: {error}")
        else:
            formats[kind] = None
            parts.append(frames)
    if not formats:
        raise UnusableAudio("; ".join(_short(notes)) or "there are no chunks")
    if len(formats) > 1:
        raise UnusableAudio(f"its chunks differ in format ({'; '.join(map(str, list(formats)[:_MAX_NOTES]))})")
    return Joined(_write(next(iter(formats)), b"".join(parts)), _short(notes + _gaps(indices)))


class _Unreadable(Exception):
    """Says what is wrong with a chunk."""


def _decoded(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except ValueError:
        raise _Unreadable("it is not base64") from None


def _read(wav: bytes) -> tuple[Format, bytes]:
    """The format and the whole frames of a WAV file. Its header may have the sizes of a stream, or it may be cut."""
    if wav[:4] != b"RIFF" or wav[8:12] != b"WAVE":
        raise _Unreadable("it is not a WAV file")
    kind: Format | None = None
    place = 12
    while place + 8 <= len(wav):
        name, size = struct.unpack_from("<4sI", wav, place)
        place += 8
        if name == b"data" and kind is not None:
            # A size of 0 is true only if the file as a whole ends where its header says.
            if size == _NOT_YET and int.from_bytes(wav[4:8], "little") + 8 != len(wav):
                size = len(wav)
            frames = wav[place : place + size]
            return kind, frames[: len(frames) - len(frames) % kind.frame_size]
        if name == b"fmt ":
            kind = _format(wav[place : place + size])
        place += size + size % 2
    raise _Unreadable("it is a WAV file without audio")


def _format(fields: bytes) -> Format:
    if len(fields) < 16:
        raise _Unreadable("its format is cut short")
    tag, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", fields)
    if tag == _EXTENSIBLE and len(fields) >= 26:
        (tag,) = struct.unpack_from("<H", fields, 24)  # the first two bytes of the sub-format's GUID
    if tag != _PCM:
        raise _Unreadable(f"its format {tag:#06x} is not PCM")
    kind = Format(channels, rate, bits)
    if not (0 < bits <= 32 and 0 < kind.frame_size < 2**16 and 0 < rate * kind.frame_size < 2**32):
        raise _Unreadable(f"its format makes no sense ({kind})")
    return kind


def _write(kind: Format, frames: bytes) -> bytes:
    """A WAV file of these frames."""
    padding = len(frames) % 2
    header = _HEADER.pack(
        *(b"RIFF", _HEADER.size - 8 + len(frames) + padding, b"WAVE"),
        *(b"fmt ", 16, _PCM, kind.channels, kind.rate, kind.rate * kind.frame_size, kind.frame_size, kind.bits),
        *(b"data", len(frames)),
    )
    return header + frames + b"\0" * padding


def _gaps(indices: Sequence[int]) -> list[str]:
    """Notes on the chunks that lie before those that came, or between them."""
    missing = [(before + 1, index - 1) for before, index in pairwise([-1, *indices]) if index > before + 1]
    return [
        f"chunk {first} has not come" if first == last else f"chunks {first} to {last} have not come"
        for first, last in missing
    ]


def _short(notes: list[str]) -> list[str]:
    """The first few of them, with the count of the others."""
    rest = len(notes) - _MAX_NOTES
    return notes if rest <= 0 else [*notes[:_MAX_NOTES], f"{rest} more chunks or gaps are missing"]
