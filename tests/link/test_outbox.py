"""The link's queue: whatever happens between bot and hub, each message arrives once and in order."""

import json
from collections import Counter, deque
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from evi_mcp.link.messages import held_of
from evi_mcp.link.outbox import DROPPED, Held, Outbox


def held(number: int, *, audio: bool = False, size: int = 0) -> Held:
    type_ = "audio_output" if audio else "user_message"
    return held_of({"type": type_, "number": number, "pad": "x" * size})


def read(frame: bytes | None) -> tuple[int, dict[str, Any]]:
    assert frame is not None
    value = json.loads(frame)
    return value["n"], value["message"]


class Hub:
    """The hub's side by the contract (section 9): each number once, in order."""

    def __init__(self) -> None:
        self.received = 0
        self.log: list[dict[str, Any]] = []

    def take(self, n: int, message: dict[str, Any]) -> None:
        assert n <= self.received + 1, "a number was left out"
        if n == self.received + 1:
            self.received += 1
            self.log.append(message)


class Delivery(RuleBasedStateMachine):
    """A bot, a hub, and a line between them that breaks at any moment."""

    budget = 1000

    def __init__(self) -> None:
        super().__init__()
        self.outbox = Outbox(max_messages=self.budget, max_bytes=1024 * 1024)
        self.hub = Hub()
        self.line: deque[tuple[int, dict[str, Any]]] = deque()
        self.up = False
        self.known = False
        self.put = 0
        self.audio: set[int] = set()

    @rule(audio=st.booleans(), times=st.integers(1, 5))
    def say(self, audio: bool, times: int) -> None:
        for _ in range(times):
            self.put += 1
            if audio:
                self.audio.add(self.put)
            self.outbox.put(held(self.put, audio=audio))

    @precondition(lambda self: not self.up)
    @rule()
    def connect(self) -> None:
        self.line.clear()
        self.outbox.connected(self.hub.received, same_chat=self.known)
        self.up = self.known = True

    @precondition(lambda self: self.up)
    @rule(frames=st.integers(1, 8))
    def write(self, frames: int) -> None:
        for _ in range(frames):
            if (frame := self.outbox.next_frame()) is not None:
                self.line.append(read(frame))

    @precondition(lambda self: self.line)
    @rule(frames=st.integers(1, 8))
    def arrive(self, frames: int) -> None:
        for _ in range(min(frames, len(self.line))):
            self.hub.take(*self.line.popleft())

    @precondition(lambda self: self.up)
    @rule(part=st.floats(0, 1))
    def acknowledge(self, part: float) -> None:
        self.outbox.acknowledge(round(part * self.hub.received))

    @precondition(lambda self: self.up)
    @rule()
    def cut(self) -> None:
        self.up = False

    @precondition(lambda self: not self.up)
    @rule()
    def the_hub_is_restarted(self) -> None:
        self.hub = Hub()
        self.line.clear()
        self.known = False

    @precondition(lambda self: not self.up and self.known)
    @rule(lost=st.integers(1, 5))
    def the_hub_is_restored_from_an_older_copy(self, lost: int) -> None:
        self.line.clear()
        kept = max(0, self.hub.received - lost)
        self.hub.log = self.hub.log[: len(self.hub.log) - (self.hub.received - kept)]
        self.hub.received = kept

    def deliver_all(self) -> None:
        if not self.up:
            self.connect()
        while True:
            self.arrive(len(self.line))
            self.outbox.acknowledge(self.hub.received)
            if (frame := self.outbox.next_frame()) is None:
                break
            self.line.append(read(frame))

    def teardown(self) -> None:
        self.deliver_all()
        assert self.outbox.open == 0
        numbers = [message["number"] for message in self.hub.log if message["type"] != DROPPED]
        told = sum((Counter(m["counts"]) for m in self.hub.log if m["type"] == DROPPED), Counter())
        assert numbers == sorted(set(numbers)), "out of order, or twice"
        missing = set(range(1, self.put + 1)) - set(numbers)
        self.check(missing, told)

    def check(self, missing: set[int], told: "Counter[str]") -> None:
        """A restarted hub is not told again what sounded once and was acknowledged; all else arrives."""
        assert missing <= self.audio and not told


class NarrowDelivery(Delivery):
    """The same with room for almost nothing: what is missing is said."""

    budget = 6

    @invariant()
    def it_keeps_to_its_budget(self) -> None:
        assert self.outbox.open <= self.budget + 2  # and the note of what was dropped

    def check(self, missing: set[int], told: "Counter[str]") -> None:
        spoken = missing - self.audio
        assert told["user_message"] >= len(spoken)


TestDelivery = Delivery.TestCase
TestNarrowDelivery = NarrowDelivery.TestCase
TestNarrowDelivery.settings = settings(max_examples=50, stateful_step_count=50)


@given(st.lists(st.booleans(), max_size=200))
def test_where_there_is_no_room_audio_goes_before_words(audio: list[bool]) -> None:
    """A supervisor reads; what was said matters more than how it sounded."""
    outbox = Outbox(max_messages=20)
    for number, is_audio in enumerate(audio):
        outbox.put(held(number, audio=is_audio))
    outbox.connected(0, same_chat=False)
    log = []
    while (frame := outbox.next_frame()) is not None:
        n, message = read(frame)
        outbox.acknowledge(n)
        log.append(message)
    words = audio.count(False)
    kept = [message for message in log if message["type"] == "user_message"]
    assert len(kept) == min(words, 20)
    assert outbox.dropped == max(0, len(audio) - 20)
    if outbox.dropped:
        assert log[0]["type"] == DROPPED and sum(log[0]["counts"].values()) == outbox.dropped


def test_bytes_are_bounded_as_well_as_messages() -> None:
    """16 MiB of long tool results are as bad for a bot's memory as 10,000 short messages."""
    outbox = Outbox(max_bytes=100_000)
    for number in range(100):
        outbox.put(held(number, size=10_000))
    assert outbox.dropped >= 90


def test_audio_that_flows_for_an_hour_leaves_nothing_behind() -> None:
    """A queue that is never full must not grow either: no list of what was dropped first, no past of audio."""
    outbox = Outbox()
    outbox.connected(0, same_chat=False)
    for number in range(20_000):
        outbox.put(held(number, audio=True))
        n, _ = read(outbox.next_frame())
        outbox.acknowledge(n)
    kept = [name for name, value in vars(outbox).items() if hasattr(value, "__len__") and len(value)]
    assert kept == [] and outbox.open == 0


def test_an_acknowledgement_of_what_was_never_sent_changes_nothing() -> None:
    """Our contract (section 9): a hub that counts wrongly must not make the link forget."""
    outbox = Outbox()
    outbox.put(held(1))
    outbox.connected(0, same_chat=False)
    outbox.next_frame()
    outbox.acknowledge(7)
    assert outbox.open == 1
