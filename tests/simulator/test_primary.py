"""The chat's own socket, which EVI has and the hub has not: what its query may say, and who may attach beside it."""

import json
from typing import Any

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from evi_mcp.simulator import Simulator
from evi_mcp.simulator.scenario import scenarios
from tests.simulator.test_sockets import all_of, eventually, rest, simulator, socket, until

pytestmark = pytest.mark.anyio


async def refused(sim: Simulator, path: str, **options: Any) -> int:
    with pytest.raises(InvalidStatus) as refusal:
        async with socket(sim, path, **options):
            raise AssertionError("it was accepted")
    return refusal.value.response.status_code


@pytest.mark.parametrize(
    "query",
    [
        "?allow_connection=perhaps",
        "?session_settings[context][text]=a&session_settings[context]=b",
        "?session_settings[tools]=x",
    ],
)
async def test_a_query_that_cannot_be_used_opens_no_chat(query: str) -> None:
    """400 and nothing left behind."""
    async with simulator() as sim:
        assert await refused(sim, query) == 400
        assert not list(sim.hub.chats)


async def test_a_chat_may_be_opened_with_settings_in_its_query() -> None:
    """Bracket notation (Hume's reference of `/chat`): the context is used in the first answer."""
    settings = (
        "?session_settings[context][text]=The+parcel+is+blue."
        "&session_settings[variables][name]=Ines&session_settings[event_limit]=3"
    )
    async with simulator() as sim, socket(sim, settings) as primary:
        await primary.send(json.dumps({"type": "user_input", "text": "Hello"}))
        await until(primary, "assistant_message", "The parcel is blue.")


async def test_a_primary_may_play_a_script_by_its_config() -> None:
    """Our addition: a `/chat` that speaks, without a microphone."""
    support = scenarios()["support"]
    async with simulator(speed=1.0) as sim:
        for config_id, shown in (
            (str(support.config_id), str(support.config_id)),
            ("support", str(support.config_id)),
            ("5b1c3a0e-6c0e-4f55-9a0b-0d5c5e0a7711", "5b1c3a0e-6c0e-4f55-9a0b-0d5c5e0a7711"),
            ("nonsense", None),
        ):
            async with socket(sim, f"?config_id={config_id}") as primary:
                chat_id = (await until(primary, "chat_metadata"))["chat_id"]
                chat = sim.hub.chats.get(chat_id)
                assert chat is not None and chat.facts.config_id == shown


async def test_a_chat_may_go_on_in_the_group_of_an_earlier_one() -> None:
    """`resumed_chat_group_id` (Hume's reference of `/chat`): another chat, the same group."""
    async with simulator() as sim, socket(sim, "") as first:
        known = await until(first, "chat_metadata")
        async with socket(sim, f"?resumed_chat_group_id={known['chat_group_id']}") as second:
            resumed = await until(second, "chat_metadata")
        async with socket(sim, "?resumed_chat_group_id=unknown") as third:
            other = await until(third, "chat_metadata")
    assert resumed["chat_id"] != known["chat_id"] and resumed["chat_group_id"] == known["chat_group_id"]
    assert other["chat_group_id"] != known["chat_group_id"]


async def test_the_number_of_live_chats_is_limited() -> None:
    """Plans of Hume's have a limit; 429 is likely and not documented."""
    async with simulator() as sim:
        object.__setattr__(sim.hub.chats.limits, "live_chats", 1)
        async with socket(sim, ""):
            assert await refused(sim, "") == 429


async def test_the_chat_ends_with_its_primary_and_with_no_other_connection() -> None:
    """Hume documents 1000 for a user who left; that an observer has no effect is inferred."""
    async with simulator() as sim, socket(sim, "?allow_connection=true") as primary:
        chat_id = (await until(primary, "chat_metadata"))["chat_id"]
        async with socket(sim, f"/{chat_id}/connect") as observer:
            await until(observer, "chat_metadata")
        assert sim.hub.chats.live(chat_id) is not None
        async with socket(sim, f"/{chat_id}/connect") as observer:
            await primary.close()
            assert (await all_of(observer))[1] == 1000
        await eventually(lambda: sim.hub.chats.live(chat_id), lambda chat: chat is None)
        assert await refused(sim, f"/{chat_id}/connect") == 404


async def test_a_token_is_made_from_a_proper_form_alone() -> None:
    """`POST /oauth2-cc/token`; our choice of statuses, Hume documents the good case only."""
    async with simulator(api_key="key", secret_key="secret") as sim, rest(sim) as client:
        for form, auth, status in (
            ({"grant_type": "client_credentials"}, ("key", "secret"), 200),
            ({"grant_type": "client_credentials"}, ("key", "wrong"), 401),
            ({"grant_type": "password"}, ("key", "secret"), 400),
            ({}, ("key", "secret"), 400),
        ):
            answer = await client.post("/oauth2-cc/token", data=form, auth=httpx.BasicAuth(*auth))
            assert answer.status_code == status
        assert (await client.get("/oauth2-cc/token")).status_code == 405


async def test_two_simulators_with_the_same_seed_make_the_same_ids() -> None:
    """A demonstration can be repeated."""
    ids = []
    for seed in (1, 1, 2):
        async with simulator(seed=seed) as sim:
            ids.append([sim.start_call("support") for _ in range(3)])
    assert ids[0] == ids[1] != ids[2]
