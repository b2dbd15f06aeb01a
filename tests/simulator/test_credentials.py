"""Who may use the simulator: keys, and tokens made from them."""

import base64

import pytest

from evi_mcp.simulator.credentials import MAX_TOKENS, Credentials


def basic(api_key: str, secret_key: str) -> str:
    return "Basic " + base64.b64encode(f"{api_key}:{secret_key}".encode()).decode()


@pytest.mark.parametrize(
    ("query", "headers", "accepted"),
    [
        ({}, {"x-hume-api-key": "right"}, True),
        ({"api_key": "right"}, {}, True),
        ({}, {"x-hume-api-key": "wrong"}, False),
        ({"api_key": "wrong"}, {}, False),
        ({"access_token": "right"}, {}, False),
        ({}, {"authorization": "Bearer right"}, False),
        ({}, {"x-hume-api-key": "r\u00efght"}, False),
        ({}, {}, False),
    ],
)
def test_a_key_is_taken_from_the_header_or_the_query(
    query: dict[str, str], headers: dict[str, str], accepted: bool
) -> None:
    """Both ways are in Hume's references; a key is no token."""
    assert Credentials("right", None).accept(headers, query, 0.0) is accepted


def test_without_a_set_key_every_key_passes_but_none_at_all_does_not() -> None:
    """A client that forgets its key should find out here, and not at Hume."""
    assert Credentials(None, None).accept({"x-hume-api-key": "anything"}, {}, 0.0)
    assert not Credentials(None, None).accept({"x-hume-api-key": ""}, {}, 0.0)


def test_a_token_is_made_from_both_keys_and_expires() -> None:
    """Basic authentication; 1800 s (Hume's page on keys)."""
    credentials = Credentials("key", "secret")
    token = credentials.token(basic("key", "secret"), 100.0)
    assert token is not None
    bearer = {"authorization": f"Bearer {token}"}
    assert credentials.accept({}, {"access_token": token}, 1899.0)
    assert credentials.accept(bearer, {}, 1899.0)
    assert not credentials.accept(bearer, {}, 1901.0)


@pytest.mark.parametrize("shown", [basic("key", "wrong"), basic("wrong", "secret"), "Basic !", "Bearer x", ""])
def test_a_token_is_refused_without_both_keys(shown: str) -> None:
    """Our choice; Hume documents the good case only."""
    assert Credentials("key", "secret").token(shown, 0.0) is None


def test_tokens_do_not_pile_up() -> None:
    """Our contract (section 11): every buffer is bounded, the oldest goes first."""
    credentials = Credentials(None, None)
    tokens = [credentials.token(basic("k", "s"), 0.0) for _ in range(MAX_TOKENS + 1)]
    alive = [credentials.accept({}, {"access_token": token or ""}, 1.0) for token in (tokens[0], tokens[-1])]
    assert alive == [False, True]
