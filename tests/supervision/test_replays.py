"""Where a history ends, what is live, and how long things may take. `docs/replay.md` has the rules."""

from itertools import pairwise

import anyio
import pytest

from evi_mcp.supervision.following import Pace, follow
from evi_mcp.supervision.live_chat import LiveChat
from evi_mcp.supervision.registry import MAX_HANDSHAKES, ChatRegistry
from evi_mcp.upstream.memory import MemoryTransport
from evi_mcp.upstream.reconnect import backoff
from evi_mcp.upstream.transport import NotTaken, Refused, Transport, Unreachable
from tests import frames
from tests.clocks import settle
from tests.supervision.by_hand import Followed, followed
from tests.supervision.following import house_of

pytestmark = pytest.mark.anyio

METADATA = frames.metadata()
FURIOUS = [
    frames.user("I am furious.", 1000),
    frames.tool_call("t1"),
    frames.tool_response("t1", "done"),
    frames.assistant("I see.", "m-1"),
    frames.end(),
]
"""A history that wakes triggers and fallbacks if it is taken for live."""
KNOWN = [frames.assistant("a", "m-1"), frames.end(), frames.user("b", 5000), frames.typed("yes"), frames.error()]
WAIT = "WAIT, stop!"


# A first connection, of which nothing is known


@pytest.mark.parametrize("late", [0.0, 0.3, 0.7, 1.0, 2.4])
async def test_a_history_that_comes_late_after_chat_metadata_is_history(late: float) -> None:
    """`chat_metadata` opens every connection: it is no history, and what follows it is not live for that."""
    async with followed(None, METADATA) as here:
        await here.pass_(late)
        assert here.state == "connecting" and here.is_catching_up
        await here.says(*FURIOUS)
        assert here.is_catching_up
        await here.pass_(1.5)
        assert here.state == "live" and not here.is_catching_up
        await here.says(frames.user("Thank you.", 60_000))
        assert here.said() == [
            "chat_metadata*",
            "I am furious.*",
            "t1*",
            "t1*",
            "I see.*",
            "assistant_end*",
            "Thank you.",
        ]


@pytest.mark.parametrize("cut", range(1, len(FURIOUS)))
async def test_a_history_that_stalls_in_mid_turn_has_not_ended(cut: int) -> None:
    """A turn of EVI's that has no end yet goes on: one lost packet on the line makes a pause like this."""
    async with followed(None, METADATA, *FURIOUS[:cut]) as here:
        await here.pass_(0.9)
        assert here.is_catching_up
        await here.says(*FURIOUS[cut:])
        await here.pass_(0.3)
        assert not here.is_catching_up
        assert all(event.replayed for event in here.events())


async def test_a_history_that_ends_with_a_turn_is_followed_at_once() -> None:
    """An agent waits for it: a quarter of a second is enough where the turn is complete."""
    async with followed(None, METADATA, *FURIOUS) as here:
        await here.pass_(0.2)
        assert here.state == "connecting"
        await here.pass_(0.1)
        assert here.state == "live" and not here.is_catching_up


@pytest.mark.parametrize("greeting", [(), (METADATA,), (METADATA, frames.settings(voice_id="v"))])
async def test_a_chat_in_which_nothing_was_said_yet_is_live_after_two_and_a_half_seconds(
    greeting: tuple[str, ...],
) -> None:
    """Nobody can tell it from one whose history is late; longer than this no agent is kept waiting."""
    async with followed(None, *greeting) as here:
        await here.pass_(2.4)
        assert here.state == "connecting"
        await here.pass_(0.2)
        assert here.state == "live" and not here.is_catching_up
        await here.says(frames.user("Hello?", 1000))
        assert here.said()[-1] == "Hello?"


async def test_a_history_without_a_pause_holds_no_agent_up_and_is_no_news() -> None:
    """Our contract (section 3): the chat is `live`, so that commands can go out, and says that it is catching up."""
    async with followed(None, METADATA) as here:
        for number in range(60):
            await here.says(frames.user(f"word {number}", number * 1000))
            await here.pass_(0.1)
            assert here.state == ("live" if here.seconds > 4.5 else "connecting")
            assert here.is_catching_up
        assert here.reason == "its history is still arriving"
        await here.pass_(1.1)
        assert here.state == "live" and here.reason is None and not here.is_catching_up
        assert [event.state for event in here.chat.record.log if event.state] == ["live", "live"]
        assert all(event.replayed for event in here.events())


async def test_a_frame_that_arrives_slowly_is_no_quiet_period() -> None:
    """A large frame on a slow line takes longer than the pause that ends a replay: bytes count, not frames."""
    async with followed(None, METADATA, *FURIOUS[:4]) as here:
        for _ in range(50):
            here.service.connections[0].heard_at += 1  # a part of it
            await here.pass_(0.1)
            assert here.is_catching_up
        await here.says(frames.user("the large one", 1))
        await here.pass_(1.1)
        assert not here.is_catching_up and here.said()[-1] == "the large one*"


# Errors of the past


ERROR = frames.error("E0714", "inactivity_timeout", "Chat ended after no user speech was detected.")


async def test_an_error_of_the_history_does_not_end_a_chat_that_talks() -> None:
    """The chat was resumed: the service has accepted a connection to it."""
    back = frames.user("I am back.", 90_000)
    async with followed(None, METADATA, frames.user("Hello?", 100), ERROR, back) as here:
        await here.pass_(1.1)
        assert here.state == "live"
        await here.says(frames.assistant("Welcome back.", "m-1"))
        assert here.said()[-2:] == ["I am back.*", "Welcome back."]


async def test_a_chat_that_goes_on_seconds_after_an_old_error_was_not_ended_by_it() -> None:
    """Silence after the error proves nothing yet."""
    async with followed(None, METADATA, frames.user("Hello?", 100), ERROR) as here:
        await here.pass_(9)
        assert here.state == "live" and here.is_catching_up
        await here.says(frames.user("I am back.", 90_000))
        await here.pass_(10)
        assert here.state == "live" and not here.is_catching_up


async def test_an_error_that_the_service_closes_after_has_ended_the_chat() -> None:
    """Hume's proxy example: the error comes, then a close with 1000; both may fall into the replay."""
    async with followed(None, METADATA, frames.user("Hello?", 100), ERROR) as here:
        await here.drop(1000)
        assert (here.state, here.reason) == ("ended", "inactivity_timeout")


async def test_an_error_after_which_nothing_comes_has_ended_the_chat() -> None:
    """A service that forgets to close must not leave an agent waiting for a chat that is over."""
    async with followed(None, METADATA, frames.user("Hello?", 100), ERROR) as here:
        await here.pass_(10.1)
        assert (here.state, here.reason) == ("ended", "inactivity_timeout")


async def test_a_live_error_that_ends_a_chat_ends_it_at_once() -> None:
    """Outside a replay nothing is old."""
    async with followed(None, METADATA, *FURIOUS) as here:
        await here.pass_(1)
        await here.says(ERROR, frames.user("last words", 9000))
        assert (here.state, here.reason) == ("ended", "inactivity_timeout")
        assert here.said()[-1] == "last words"


# Reconnecting


async def known_and_dropped(here: Followed) -> None:
    """The chat of `KNOWN` was live for a minute, then the line broke."""
    await here.pass_(60)
    assert here.state == "live" and not here.is_catching_up
    await here.drop()
    assert here.state == "reconnecting" and here.is_catching_up
    here.service.greeting = ()
    await here.reconnected()


async def watch(here: Followed, seconds: float) -> None:
    """Time passes; all the while nothing may be decided on what is known of the chat."""
    for _ in range(round(seconds / 0.05)):
        await here.pass_(0.05)
        assert here.is_catching_up, f"caught up before the outage was known, after {seconds} s"


MISSED = [frames.assistant("c", "m-2"), frames.user(WAIT, 20_000)]


@pytest.mark.parametrize(
    "script",
    [
        [METADATA, 0.3, *KNOWN, *MISSED],
        [METADATA, 0.6, *KNOWN, *MISSED],
        [METADATA, 3.0, *KNOWN, *MISSED],
        [METADATA, 8.0, *KNOWN, *MISSED],
        [2.2, METADATA, *KNOWN, *MISSED],
        [6.0, METADATA, *KNOWN, *MISSED],
        [METADATA, *KNOWN[:2], 0.9, *KNOWN[2:], *MISSED],
        [METADATA, *KNOWN[:2], 3.9, *KNOWN[2:], *MISSED],
        [METADATA, KNOWN[0], 3.9, KNOWN[1], 3.9, KNOWN[2], 0.9, *KNOWN[3:], *MISSED],
        [METADATA, *KNOWN, 0.9, *MISSED],
        [METADATA, *KNOWN, 0.9, MISSED[0], 0.9, MISSED[1]],
    ],
    ids=lambda script: " ".join(str(step) if isinstance(step, float) else "." for step in script),
)
async def test_until_what_an_outage_held_has_arrived_the_chat_has_not_caught_up(script: list[str | float]) -> None:
    """Else an agent's words go out over a caller who said "WAIT, stop!" while the line was down."""
    async with followed(None, METADATA, *KNOWN) as here:
        await known_and_dropped(here)
        for step in script:
            if isinstance(step, float):
                await watch(here, step)
            else:
                await here.says(step)
        assert here.said()[-1] == f"{WAIT}*"
        await here.pass_(1.1)
        assert here.state == "live" and not here.is_catching_up
        assert here.said().count("assistant_end*") == 1, "known events were logged again"
        assert len(here.said()) == 1 + len(KNOWN) + len(MISSED)


async def test_commands_can_go_out_while_a_slow_replay_runs() -> None:
    """A command waits for `live` for 5 s; what depends on what was said looks at `catching_up`."""
    async with followed(None, METADATA, *KNOWN) as here:
        await known_and_dropped(here)
        await watch(here, 4.4)
        assert here.state == "reconnecting"
        await watch(here, 0.2)
        assert (here.state, here.reason) == ("live", "its history is still arriving")


@pytest.mark.parametrize("left_out", [[KNOWN[2]], [KNOWN[0]]], ids=["user_message", "assistant_message"])
async def test_a_type_that_a_replay_leaves_out_is_waited_for_once_and_not_again(left_out: list[str]) -> None:
    """It may be the rest of a replay that stalls; but a service that leaves it out does so every time."""
    held = [METADATA, *(frame for frame in KNOWN if frame not in left_out)]
    async with followed(None, METADATA, *KNOWN) as here:
        await known_and_dropped(here)
        await here.says(*held)
        await watch(here, 3.9)
        await here.pass_(0.2)
        assert here.state == "live" and not here.is_catching_up
        await here.drop()
        await here.reconnected()
        await here.says(*held)
        await watch(here, 0.9)
        await here.pass_(0.2)
        assert here.state == "live" and not here.is_catching_up


@pytest.mark.parametrize("some", [[], [METADATA], [METADATA, KNOWN[0]], [METADATA, frames.user("new", 30_000)]])
async def test_a_service_that_does_not_repeat_what_is_known_is_waited_for_and_then_believed(some: list[str]) -> None:
    """Nothing says that every service replays all; after 20 s without a known event it is taken at its word."""
    async with followed(None, METADATA, frames.user("first", 1), *KNOWN, frames.assistant("last", "m-9")) as here:
        await known_and_dropped(here)
        await here.says(*some)
        await watch(here, 19.9)
        assert here.state == "live"
        await here.pass_(0.2)
        assert here.state == "live" and not here.is_catching_up


async def test_known_events_that_keep_coming_show_that_the_replay_runs_however_long() -> None:
    """A long history on a slow line: what follows it is not live before it is all there."""
    said = [frames.assistant(f"line {n}", f"m-{n}") for n in range(20)]
    async with followed(None, METADATA, *said) as here:
        await known_and_dropped(here)
        for frame in said:
            await here.says(frame)
            await watch(here, 3.0 if frame != said[-1] else 0.9)
        await here.says(frames.user(WAIT, 1))
        assert here.said()[-1] == f"{WAIT}*"


async def test_a_chat_that_is_never_quiet_is_caught_up_five_seconds_after_all_that_was_known() -> None:
    """Audio leaves no pause. Commands go out after one second; guards trust the log again after five."""
    async with followed(None, METADATA, *KNOWN) as here:
        await known_and_dropped(here)
        await here.says(METADATA, *KNOWN)
        back_at = here.seconds
        for number in range(200):
            await here.says(frames.audio("m-2", number))
            await here.pass_(0.1)
            since = here.seconds - back_at
            assert here.state == ("live" if since > 1.05 else "reconnecting")
            assert here.is_catching_up == (since < 5.05)
        assert here.said().count("audio_output*") + here.said().count("audio_output") == 200


async def test_a_replay_that_lacks_the_newest_interim_transcript_holds_nobody_up() -> None:
    """A cut in mid-sentence leaves an interim transcript that no replay has to repeat."""
    async with followed(None, METADATA, frames.user("Hello", 1)) as here:
        await here.pass_(2)
        await here.says(frames.user("My par", 2000, interim=True))
        await here.drop()
        await here.reconnected()
        await here.pass_(1.1)
        assert not here.is_catching_up


async def test_replays_that_pause_after_chat_metadata_double_nothing_however_often() -> None:
    """Each reconnect logged again what has no identity: ends of turns, typed words, settings, errors, unknown types."""
    said = [*KNOWN, frames.settings(voice_id="v"), frames.frame("something_new", n=1), frames.end()]
    async with followed(None, METADATA, *said) as here:
        await known_and_dropped(here)
        before = here.said()
        for _ in range(5):
            await here.says(METADATA)
            await here.pass_(0.3)
            await here.says(*said)
            await here.pass_(1.1)
            assert here.state == "live" and here.said() == before
            await here.drop()
            await here.reconnected()


async def test_an_id_that_is_used_twice_names_two_events_live_and_in_every_replay() -> None:
    """Some providers number tool calls from 0; the second one waits for an answer, too."""
    calls = [frames.tool_call("call_0", parameters='{"n": "A"}'), frames.tool_call("call_0", parameters='{"n": "A"}')]
    answer = frames.tool_response("call_0", "one")
    async with followed(None, METADATA, frames.user("first", 1)) as here:
        await here.pass_(2)
        await here.says(calls[0], answer, frames.user("second", 9000), calls[1])
        assert here.said()[1:] == ["first*", "call_0", "call_0", "second", "call_0"]
        before = here.said()
        here.service.greeting = (
            METADATA,
            frames.user("first", 1),
            calls[0],
            answer,
            frames.user("second", 9000),
            calls[1],
        )
        for _ in range(3):
            await here.drop()
            await here.reconnected()
            await here.pass_(2)
            assert here.said() == before
        here.service.greeting += (answer, calls[0])
        await here.drop()
        await here.reconnected()
        await here.pass_(2)
        assert here.said() == [*before, "call_0*", "call_0*"]


async def test_words_without_a_time_are_as_many_events_as_there_were() -> None:
    """ "Yes." three times, each with the time 0/0: a service that gives no times has said it three times."""
    yes = frames.user("Yes.", 0, end=0)
    async with followed(None, METADATA) as here:
        await here.pass_(0.6)
        for number in range(3):
            await here.says(yes)
            await here.pass_(0.3)
            await here.says(frames.assistant(f"ok {number}", f"m{number}"), frames.end())
            await here.pass_(0.4)
        assert [word.rstrip("*") for word in here.said()].count("Yes.") == 3


# Patience


async def test_a_line_that_breaks_every_three_seconds_and_comes_back_never_fails_a_chat() -> None:
    """A live chat must not be given up because its line is bad: what comes back is progress."""
    async with followed(None, METADATA, *FURIOUS) as here:
        for _ in range(300):
            await here.pass_(3)
            await here.drop()
            assert here.state == "reconnecting"
            await here.reconnected()
        assert here.seconds > 900
        assert all(later - earlier < 3.6 for earlier, later in pairwise(here.service.attempts)), "delays begin anew"


async def test_a_service_that_closes_as_soon_as_it_has_said_all_is_asked_less_and_less_often() -> None:
    """It is progress, so the chat is not given up; but nobody wants to be asked four times a second for hours."""
    async with followed(None, METADATA, *FURIOUS) as here:
        for _ in range(12):
            await here.drop(1011)
            await here.reconnected()
        assert here.service.attempts[-1] - here.service.attempts[-2] > 10
        await here.pass_(300)
        assert here.state == "live"


async def test_a_chat_that_was_live_for_long_has_all_its_patience_when_it_drops() -> None:
    """The outage counts, not the time since the chat was attached."""
    async with followed(None, METADATA, *FURIOUS) as here:
        await here.pass_(1000)
        here.service.refuses = Unreachable("no route")
        await here.drop()
        await here.pass_(290)
        assert here.state == "reconnecting"
        here.service.refuses = None
        await here.pass_(30)
        assert here.state == "live"


async def test_after_a_long_outage_the_next_one_begins_with_short_waits_again() -> None:
    """Thirty seconds without a supervisor, for a line that broke once, would be too long."""
    async with followed(None, METADATA, *FURIOUS) as here:
        await here.pass_(2)
        here.service.refuses = Unreachable("no route")
        await here.drop()
        await here.pass_(200)
        here.service.refuses = None
        await here.reconnected()
        await here.pass_(5)
        await here.drop()
        dropped_at = here.clock.elapsed()
        await here.reconnected()
        assert here.clock.elapsed() - dropped_at < 0.4


async def test_an_open_socket_alone_is_no_progress() -> None:
    """A service that accepts, greets and breaks off, for ever, has to be given up at last."""
    async with followed(None, METADATA) as here:
        while here.state != "failed":
            assert here.seconds < 400
            await here.drop()
            await here.pass_(0.5)
        assert 299 < here.seconds < 302
        assert here.reason == "gave up after 300 s without a connection; last: the connection broke"
        assert len(here.service.attempts) < 25


async def test_reconnecting_goes_on_until_the_time_is_up_and_then_fails() -> None:
    """Our contract (section 2, EVI_MCP_RECONNECT_FOR)."""
    async with followed(Pace(reconnect_for=20), METADATA, *FURIOUS) as here:
        await here.pass_(2)
        here.service.refuses = Unreachable("no route")
        await here.drop(1012, "restart")
        await here.pass_(19.9)
        assert here.state == "reconnecting"
        await here.pass_(0.2)
        assert (here.state, here.reason) == ("failed", "gave up after 20 s without a connection; last: no route")
        assert len(here.service.attempts) > 3
        reasons = [event.reason for event in here.chat.record.log if event.state == "reconnecting"]
        assert reasons == ['the service closed the connection with 1012: "restart"', "no route"]


@pytest.mark.parametrize("code", [1008, 4000, 4999])
@pytest.mark.parametrize("after", [0.0, 1.0, 1.9])
async def test_a_policy_close_right_after_the_accept_is_an_answer(code: int, after: float) -> None:
    """As a 4xx of the handshake is: 25 connections in 30 s, each closed like the one before, help nobody."""
    async with followed(None, METADATA) as here:
        await here.pass_(after)
        await here.drop(code, "not for you")
        await here.pass_(60)
        said = f'the service closed the connection with {code} as soon as it was accepted: "not for you"'
        assert (here.state, here.reason, len(here.service.attempts)) == ("failed", said, 1)


@pytest.mark.parametrize("code", [1008, 4001, 1002, 1003, 1007])
async def test_three_refusing_closes_in_a_row_are_an_answer(code: int) -> None:
    """Nothing documents what EVI means by them (evi-protocol 5.2): a few tries, whatever each of them brought."""
    async with followed(None, METADATA, *FURIOUS) as here:
        for connections in (1, 2, 3):
            assert len(here.service.connections) == connections
            await here.pass_(5)
            assert here.state == "live"
            await here.drop(code)
            await here.pass_(1)
        assert here.state == "failed" and len(here.service.attempts) == 3
        assert here.reason == f"the service closed the connection with {code}; it has refused 3 connections in a row"


async def test_refusing_closes_that_are_far_between_fail_no_chat() -> None:
    """Each of them came to a connection that was good for a minute, or after one that broke otherwise."""
    async with followed(None, METADATA, *FURIOUS) as here:
        for code, stood in [(4001, 61), (4001, 61), (4001, 61), (4001, 5), (None, 5), (4001, 5), (4001, 5), (1011, 5)]:
            await here.pass_(stood)
            assert here.state == "live"
            await here.drop(code)
            await here.reconnected()


@pytest.mark.parametrize("status", [429, 503])
async def test_a_service_that_says_when_to_come_back_is_left_alone_until_then(status: int) -> None:
    """`Retry-After` (RFC 9110, 10.2.3)."""
    async with followed(None, METADATA, *FURIOUS) as here:
        await here.pass_(2)
        here.service.refuses = Refused(status, retry_after=45)
        await here.drop()
        await here.pass_(100)
        asked = [at - here.started for at in here.service.attempts[1:]]
        assert [round(later - earlier) for earlier, later in pairwise(asked)] == [45, 45]


async def test_a_service_that_wants_to_be_left_alone_for_longer_than_we_try_is_not_asked_again() -> None:
    """The chat fails when its time is up, and says what the service said."""
    async with followed(Pace(reconnect_for=20), METADATA, *FURIOUS) as here:
        await here.pass_(2)
        here.service.refuses = Refused(503, retry_after=3600)
        await here.drop()
        await here.pass_(19)
        assert here.state == "reconnecting" and len(here.service.attempts) == 2
        await here.pass_(2)
        assert here.state == "failed" and len(here.service.attempts) == 2
        assert here.reason == "gave up after 20 s without a connection; last: refused (HTTP 503)"


def test_delays_grow_from_a_quarter_to_thirty_seconds() -> None:
    """Our contract (section 3): exponential backoff with jitter, from 0.25 s to 30 s, for ever."""
    delays = backoff()
    taken = [next(delays) for _ in range(200)]
    assert all(0.25 <= delay <= 30 for delay in taken)
    assert taken[0] == 0.25 and min(taken[20:]) >= 15
    assert len(set(taken[20:])) > 100


class _Counting:
    """A connector of which no handshake ever ends; `most` were under way at once."""

    def __init__(self) -> None:
        self.most = 0

    async def connect(self, chat_id: str) -> Transport:
        self.most += 1
        await anyio.sleep_forever()
        return MemoryTransport()

    async def post(self, chat_id: str, frame: str, within_s: float) -> None:
        raise NotTaken("this service takes no posts")

    async def explain_refusal(self, chat_id: str, status: int) -> str:
        return ""


async def test_chats_that_dropped_together_do_not_storm_the_service() -> None:
    """A thousand chats come back after an outage: so many handshakes are under way at once, and no more."""
    connector = _Counting()
    async with ChatRegistry(house_of(connector)) as registry, anyio.create_task_group() as group:
        for number in range(MAX_HANDSHAKES + 50):
            group.start_soon(registry.attach, f"chat-{number}")
        await settle()
        assert connector.most == MAX_HANDSHAKES
        group.cancel_scope.cancel()


async def test_following_waits_for_its_turn_to_connect() -> None:
    """The limit is one for all chats of the process."""
    connector, handshakes = _Counting(), anyio.CapacityLimiter(2)
    async with anyio.create_task_group() as group, followed() as here:
        for number in range(5):
            chat = LiveChat(f"chat-{number}", house_of(connector, here.clock))
            group.start_soon(follow, chat, connector, Pace(), handshakes, here.clock)
        await settle()
        assert connector.most == 2
        group.cancel_scope.cancel()
