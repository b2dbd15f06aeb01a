"""The two commands that EVI has not."""

import json

import pytest

from evi_mcp.errors import InvalidCommand
from evi_mcp.protocol.call_commands import EndChat, TransferChat


def test_their_frames_are_plain_json() -> None:
    """The hub passes them on as they are."""
    assert json.loads(EndChat.of().frame()) == {"type": "end_chat"}
    assert json.loads(TransferChat.of(target_uri="tel:+14155550123").frame()) == {
        "type": "transfer_chat",
        "target_uri": "tel:+14155550123",
    }


@pytest.mark.parametrize("target", ["", "+14155550123", "https://example.com", "tel:", "sip:a b", "tel:1\n", "tel:é"])
def test_a_target_that_is_no_address_of_a_telephone_is_refused_before_the_network(target: str) -> None:
    """A person would be sent nowhere."""
    with pytest.raises(InvalidCommand, match="target_uri"):
        TransferChat.of(target_uri=target)
