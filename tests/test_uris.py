"""Addresses of resources: whatever an id is made of, its address is one, and only ours can be subscribed to."""

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evi_mcp import uris

ids = st.text(max_size=256)


@given(ids)
def test_the_address_of_audio_is_plain_ascii_and_leads_back_to_its_message(message_id: str) -> None:
    """Ids come from the service: invisible characters, slashes and queries in one must not act in an address."""
    uri = uris.audio("chat-1", message_id)
    assert uri.isascii() and uri.isprintable() and " " not in uri and len(uri) <= uris.LONGEST
    last = uri.removeprefix("evi://chats/chat-1/audio/")
    assert "/" not in last and "?" not in last and "#" not in last
    assert unquote(last) == message_id.encode("utf-8", "replace").decode()
    assert uris.can_change(uri) == bool(message_id)


@pytest.mark.parametrize("view", ["", uris.EVENTS, uris.TRANSCRIPT, uris.TOOL_CALLS])
def test_every_view_of_a_chat_can_be_subscribed_to(view: str) -> None:
    """Our contract (section 6): the URIs without a query."""
    assert uris.can_change(uris.chat("c" * 128, view)) and uris.can_change(uris.CHATS)


@pytest.mark.parametrize(
    "uri",
    [
        "evi://chatsandmore",
        "evi://chats/",
        "evi://chats/c/",
        "evi://chats/c/nonsense",
        "evi://chats/c/events?limit=1",
        "evi://chats/c/audio/",
        "evi://chats/c/audio/a/b",
        "evi://chats/c/audio/%e2%80%ae",
        "evi://chats/c/audio/%41",
        "evi://chats/c/audio/\u202e",
        "evi://chats/c/audio/" + "%F0%9F%98%80" * 400,
        "evi://chats/\u202e",
        "evi://chats/" + "c" * 129,
        "evi://nothing",
        "other://\u202e",
        "other:// ",
        "no scheme",
        "",
    ],
)
def test_what_never_changes_cannot_be_subscribed_to(uri: str) -> None:
    """A client that subscribed to it would wait for ever; and an address is sent back as it came."""
    assert not uris.can_change(uri)


def test_other_schemes_are_none_of_our_business() -> None:
    """The protocol's conformance suite subscribes to resources of its own."""
    assert uris.can_change("test://watched-resource")
