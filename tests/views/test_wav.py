"""Joining the chunks of a message: what comes out is one WAV with every frame that could be read."""

import base64
import io
import struct
import wave
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp.errors import UnusableAudio
from evi_mcp.views.wav import join
from tests import frames

PCM = bytes(range(96))


def opened(wav: bytes) -> tuple[int, int, int, bytes]:
    """Channels, bytes of a sample, Hz and frames, as the standard library reads them."""
    with wave.open(io.BytesIO(wav)) as sound:
        size = sound.getnframes() * sound.getnchannels() * sound.getsampwidth()
        assert len(wav) == 44 + size + size % 2, "a header, the frames, and padding to an even length"
        assert int.from_bytes(wav[4:8], "little") == len(wav) - 8
        return (*sound.getparams()[:3], sound.readframes(sound.getnframes()))


def b64(wav: bytes) -> str:
    return base64.b64encode(wav).decode()


def chunk(name: bytes, body: bytes, size: int | None = None) -> bytes:
    return struct.pack("<4sI", name, len(body) if size is None else size) + body + b"\0" * (len(body) % 2)


def riff(*chunks: bytes, size: int | None = None) -> bytes:
    body = b"WAVE" + b"".join(chunks)
    return struct.pack("<4sI", b"RIFF", len(body) if size is None else size) + body


def fmt(tag: int = 1, channels: int = 1, rate: int = 48_000, bits: int = 16, more: bytes = b"") -> bytes:
    frame = channels * (bits + 7) // 8
    return chunk(b"fmt ", struct.pack("<HHIIHH", tag, channels, rate, rate * frame % 2**32, frame % 2**16, bits) + more)


EXTENSIBLE = struct.pack("<HHI", 22, 16, 4) + bytes.fromhex("0100000000001000800000aa00389b71")
LIST = chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0")


@given(
    st.binary(max_size=600),
    st.lists(st.integers(0, 600), max_size=8),
    st.sampled_from([1, 2]),
    st.sampled_from([1, 2, 3, 4]),
    st.sampled_from([8_000, 24_000, 48_000]),
)
def test_any_split_of_a_recording_joins_to_the_recording(
    pcm: bytes, cuts: list[int], channels: int, width: int, rate: int
) -> None:
    """Hume's audio guide: each chunk is a small complete WAV; a listener wants one, without a frame more or less."""
    frame = channels * width
    pcm = pcm[: len(pcm) - len(pcm) % frame]
    places = sorted({0, len(pcm), *(min(cut * frame, len(pcm)) for cut in cuts)})
    parts = [pcm[start:end] for start, end in pairwise(places)] or [b""]
    chunks = [frames.wav(part, rate=rate, channels=channels, width=width) for part in parts]
    wav, notes = join(enumerate(chunks))
    assert opened(wav) == (channels, width, rate, pcm)
    assert notes == []


@pytest.mark.parametrize(
    "wav",
    [
        riff(fmt(), LIST, chunk(b"data", PCM)),
        riff(LIST, fmt(), chunk(b"data", PCM), LIST),
        riff(chunk(b"odd ", b"123"), fmt(), chunk(b"data", PCM)),
        riff(fmt(more=b"\0\0"), chunk(b"fact", b"\x30\0\0\0"), chunk(b"data", PCM)),
        riff(fmt(), chunk(b"data", PCM, size=0xFFFFFFFF), size=0xFFFFFFFF),
        riff(fmt(), chunk(b"data", PCM, size=0), size=0),
        riff(fmt(), chunk(b"data", PCM, size=0), size=36),
        riff(fmt(), chunk(b"data", PCM, size=0), size=0xFFFFFFFF),
        riff(fmt(), chunk(b"data", PCM, size=10**6)),
        riff(fmt(), chunk(b"data", PCM + b"\x07")),
        riff(fmt(tag=0xFFFE, more=EXTENSIBLE), chunk(b"data", PCM)),
    ],
    ids=[
        "chunks before the data",
        "and after it",
        "of odd length",
        "a longer format",
        "a stream",
        "a stream with sizes of 0",
        "a stream with the size of a header",
        "a stream with both",
        "cut short",
        "half a frame at the end",
        "extensible",
    ],
)
def test_headers_as_they_are_found_in_the_wild_are_read(wav: bytes) -> None:
    """Streaming writers do not know a size in advance, and other tools add what they please."""
    joined = join([(0, b64(wav)), (1, frames.wav(PCM))])
    assert opened(joined.wav) == (1, 2, 48_000, PCM + PCM)
    assert joined.notes == []


def test_a_file_that_is_empty_by_its_own_account_adds_nothing() -> None:
    """A size of 0 is a streaming writer's only if the file goes on: a list after the data is no sound."""
    empty = riff(fmt(), chunk(b"data", b""), LIST)
    assert opened(join([(0, b64(empty)), (1, frames.wav(PCM))]).wav)[3] == PCM


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("", "not a WAV file"),
        ("not base64!", "not base64"),
        (b64(b"ID3\x04" + PCM), "not a WAV file"),
        (b64(riff()), "without audio"),
        ("UklGRiQAAABXQVZF", "without audio"),
        (b64(riff(chunk(b"data", PCM), fmt())), "without audio"),
        (b64(riff(chunk(b"fmt ", b"\1\0"), chunk(b"data", PCM))), "its format is cut short"),
        (b64(riff(fmt(tag=3, bits=32), chunk(b"data", PCM))), "its format 0x0003 is not PCM"),
        (b64(riff(fmt(channels=0), chunk(b"data", PCM))), "makes no sense"),
        (b64(riff(fmt(rate=0), chunk(b"data", PCM))), "makes no sense"),
        (b64(riff(fmt(rate=2**32 - 1), chunk(b"data", PCM))), "makes no sense"),
        (b64(riff(fmt(channels=65_535, bits=32), chunk(b"data", PCM))), "makes no sense"),
        (b64(riff(fmt(bits=64), chunk(b"data", PCM))), "makes no sense"),
    ],
)
def test_a_chunk_that_cannot_be_read_is_left_out_and_said_so(data: str, said: str) -> None:
    """A listener wants the rest, and to know that there was more."""
    joined = join([(0, frames.wav(PCM)), (1, data), (2, frames.wav(PCM))])
    assert opened(joined.wav)[3] == PCM + PCM
    (note,) = joined.notes
    assert note.startswith("chunk 1 was left out: ") and said in note
    with pytest.raises(UnusableAudio, match=said):
        join([(1, data)])


def test_gaps_are_closed_and_said() -> None:
    """A replay may leave a chunk out."""
    joined = join((index, frames.wav(PCM)) for index in (1, 2, 7))
    assert opened(joined.wav)[3] == PCM * 3
    assert joined.notes == ["chunk 0 has not come", "chunks 3 to 6 have not come"]


def test_the_notes_are_few_however_much_is_wrong() -> None:
    """They travel beside the audio, and are read by a model."""
    notes = join([(0, frames.wav(PCM)), *((2 * n, "?") for n in range(1, 500))]).notes
    assert len(notes) == 11
    assert notes[-1] == "988 more chunks or gaps are missing"


def test_chunks_of_different_formats_are_not_joined() -> None:
    """They would play at the wrong speed; which of them is right, nobody can tell."""
    with pytest.raises(UnusableAudio, match=r"48000 Hz, 16 bit, 1 channel; 24000 Hz, 16 bit, 2 channels"):
        join([(0, frames.wav(PCM)), (1, frames.wav(PCM, rate=24_000, channels=2))])


def with_a_wrong_byte(place: int, value: int) -> str:
    wav = bytearray(base64.b64decode(frames.wav(PCM)))
    wav[place] = value
    return b64(bytes(wav))


GARBAGE = st.one_of(
    st.text(),
    st.binary().map(b64),
    st.binary().map(lambda body: b64(b"RIFF\xff\xff\xff\xffWAVE" + body)),
    st.tuples(st.binary(max_size=40), st.binary()).map(lambda parts: b64(riff(chunk(b"fmt ", parts[0]), parts[1]))),
    st.tuples(st.binary(min_size=16, max_size=40), st.integers(0, 2**32 - 1), st.binary()).map(
        lambda parts: b64(riff(chunk(b"fmt ", b"\1\0" + parts[0]), chunk(b"data", parts[2], size=parts[1])))
    ),
    st.builds(with_a_wrong_byte, st.integers(0, 139), st.integers(0, 255)),
    st.just(frames.wav(PCM)),
)


@given(st.lists(GARBAGE, max_size=5))
def test_whatever_comes_either_is_a_wav_or_one_sentence(data: list[str]) -> None:
    """Chunks come from outside, and a header is the oldest way to break whoever reads it."""
    try:
        wav, notes = join(enumerate(data))
    except UnusableAudio as error:
        assert str(error).startswith("the chunks of this message cannot be joined to one WAV: ")
        assert str(error).endswith(".")
    else:
        opened(wav)
        assert len(notes) < len(data) or not data
