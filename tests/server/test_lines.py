"""Lines read and written: what cannot be read is answered with its id, and what is written is one line to anybody."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from evi_mcp.server import lines
from evi_mcp.server.lines import Unreadable, read, too_long, written

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
GOOD_ID = st.integers() | st.text(max_size=20)


def answers(line: bytes) -> list[dict[str, Any]]:
    """What a line is answered with before anybody else sees it."""
    found = read(line)
    assert isinstance(found, Unreadable), found
    return [strictly(answer) for answer in found.answers]


def strictly(line: bytes) -> dict[str, Any]:
    """An answer, as a strict client reads it."""
    assert line.endswith(b"\n") and len(line.decode().splitlines()) == 1
    value = json.loads(line, parse_constant=pytest.fail)
    assert value["jsonrpc"] == "2.0" and value["error"]["message"] and value["error"]["code"] in (-32700, -32600)
    return dict(value)


def request(**changed: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": "ping", "params": {}, **changed}


@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
@example(b'{"id":1' + b"}" * 50)
@example(b'[[[{"id":1}]]]')
@example(b'"id":1}')
@example(b'{"id":"a\\')
@example(b'{"id" "id":1:}')
def test_nothing_on_stdin_raises_and_each_answer_is_an_answer(data: bytes) -> None:
    """A reader that raises once reads no more, and the server is deaf."""
    found = read(data)
    if isinstance(found, Unreadable):
        assert found.why
        for answer in found.answers:
            strictly(answer)


@given(GOOD_ID, st.sampled_from(["jsonrpc", "method", "params", "cut", "tail", "surrogate", "deep", "bytes"]), JSON)
def test_a_request_that_cannot_be_read_is_answered_with_its_id(id: int | str, fault: str, odd: Any) -> None:
    """Issue: a client that gets no answer hangs. Whatever is wrong beside the id, the id is repeated."""
    good = {"jsonrpc": isinstance(odd, str) and odd == "2.0", "method": isinstance(odd, str)}
    good["params"] = odd is None or isinstance(odd, dict)
    message = request(id=id)
    if fault in good:
        message[fault] = 5 if good[fault] else odd
    if fault == "deep":
        message["params"] = {}
    line = json.dumps(message).encode()
    deep = b'{"a":' * 5000 + b"1" + b"}" * 5000
    line = {
        "cut": line[:-1],
        "tail": line + b"x",
        "surrogate": line.replace(b"{}", b'{"a":"\\ud83d"}'),
        "deep": line.replace(b"{}", deep),
        "bytes": line.replace(b"{}", b'{"a":"\xff"}'),
    }.get(fault, line)
    [answer] = answers(line)
    assert answer["id"] == id and type(answer["id"]) is type(id)


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("size", [10, lines.MAX_SCANNED, 3 * lines.MAX_SCANNED])
def test_the_id_is_found_wherever_a_client_puts_it(order: str, size: int) -> None:
    """Python's SDK writes it first, TypeScript's last; between lies whatever is too large, too deep or broken."""
    bad = b'"params":{"id":99,"a":[{"id":98}],"t":"' + b"x" * size + b'\\ud83d","id":97}'
    first = b'{"jsonrpc":"2.0","id":"mine","method":"tools/call",' + bad + b"}"
    last = b'{"method":"tools/call",' + bad + b',"jsonrpc":"2.0","id":"mine"}'
    [answer] = answers(first if order == "first" else last)
    assert answer["id"] == "mine"


def test_the_id_of_a_line_that_was_not_kept_is_found_at_either_end() -> None:
    """Of a line that is too long only its ends are there; what is none is not made up."""
    body = b'"params":{"t":"' + b"x" * lines.MAX_SCANNED
    for beginning, end, id in (
        (b'{"id":5,"method":"m",' + body, b'xx"}}', 5),
        (b'{"method":"m",' + body, b'xx"},"jsonrpc":"2.0","id":5}', 5),
        (b'{"method":"m",' + body, b'xx","id":5},"jsonrpc":"2.0"}', None),
        (b'{"method":"m",' + body, b'xx", "id" : "a\\"b" , "method" : "m" } \r', None),
        (b'{"method":"m",' + body, b'xx"}, "id" : "a\\"b" , "method" : "m" } \r', 'a"b'),
    ):
        found = too_long(beginning[: lines.MAX_SCANNED], end, 100)
        if id is None:
            continue
        [answer] = found.answers
        assert strictly(answer)["id"] == id and "longer than 100 bytes" in found.why


@pytest.mark.parametrize("id", [None, True, 1.5, 1.0, {}, [], {"id": 1}, [7]])
def test_an_id_that_is_none_makes_no_notification(id: Any) -> None:
    """The model of a notification has no id and takes any: a request with a bad one was never answered."""
    [answer] = answers(json.dumps(request(id=id)).encode())
    assert answer["id"] == (id if isinstance(id, float) else None)
    assert "id has to be a string or an integer" in answer["error"]["message"]


@given(st.lists(GOOD_ID, max_size=5, unique=True))
def test_each_request_of_a_batch_is_told_that_there_are_none(ids: list[int | str]) -> None:
    """Issue: MCP 2025-03-26 had batches. Whoever waits for one of its answers learns what is wrong."""
    batch: list[Any] = [request(id=id) for id in ids]
    batch[1:1] = [{"jsonrpc": "2.0", "method": "notifications/x"}, {"jsonrpc": "2.0", "id": 1, "result": {}}]
    found = answers(json.dumps(batch).encode())
    assert [answer["id"] for answer in found] == ([*ids] if ids else [None])
    assert all("batches are not read" in answer["error"]["message"] for answer in found)


def test_a_huge_batch_is_not_read_before_it_is_refused() -> None:
    """16 MiB of small objects take a parser many seconds, in which no caller would be resumed."""
    line = b"[" + b'{"id":1,"method":"m"},' * 700_000 + b"1]"
    found = read(line)
    assert isinstance(found, Unreadable) and found.why == lines.NO_BATCHES
    assert 0 < len(found.answers) <= lines.MAX_TOKENS


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"Content-Length: 120\r\n", "no Content-Length framing"),
        (b"content-type: application/vscode-jsonrpc\r\n", "no Content-Length framing"),
        (b'\xff\xfe{\0"\0', "looks like UTF-16"),
        ('{"id"'.encode("utf-16-be"), "looks like UTF-16"),
        (b'{"a": "\xe9"}', "not UTF-8, from byte 7 on"),
        (b"[]", "batches are not read"),
        (b"null", "a message is a JSON object"),
        (b"{}", 'jsonrpc has to be "2.0"'),
        (b'{"jsonrpc":"2.0"}', "there is no method"),
        (b"hello", "the line is not JSON (expected value at line 1 column 1)"),
    ],
)
def test_what_asks_for_nothing_by_id_is_told_what_is_wrong_all_the_same(line: bytes, said: str) -> None:
    """JSON-RPC 2.0, section 5: the id is null where it could not be found."""
    [answer] = answers(line)
    assert answer["id"] is None and said in answer["error"]["message"]


@pytest.mark.parametrize("line", [b"", b"\r", b"  \t", b"\xef\xbb\xbf"])
def test_a_blank_line_says_nothing(line: bytes) -> None:
    """It is no message and asks for none."""
    assert read(line) is None


def test_a_byte_order_mark_is_no_part_of_the_message() -> None:
    """Some Windows programs write one first."""
    found = read(b"\xef\xbb\xbf" + json.dumps(request()).encode())
    assert isinstance(found, JSONRPCRequest) and found.id == 7


@pytest.mark.parametrize(
    "answer",
    [{"result": {}}, {"error": {"code": 1, "message": ""}}, {"result": 5}, {"error": "x"}, {"result": {}, "error": {}}],
)
def test_what_looks_like_an_answer_is_not_answered(answer: dict[str, Any]) -> None:
    """Its id is one of ours: a client would take an answer to it for that of its own request of the same id."""
    found = read(json.dumps({"jsonrpc": "2.0", "id": 7, **answer}).encode())
    assert isinstance(found, JSONRPCResponse | JSONRPCError) or (isinstance(found, Unreadable) and not found.answers)
    [both] = answers(json.dumps(request(method=5, **answer)).encode())
    assert both["id"] == 7


def test_notifications_are_read_also_from_clients_that_write_every_field() -> None:
    """A serializer that leaves nothing away writes an id of null, and means none."""
    for given_id in ({}, {"id": None}):
        line = json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized", **given_id}).encode()
        assert isinstance(read(line), JSONRPCNotification)


@given(JSON, GOOD_ID)
@example("\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e\n\r", 1)
@example({"\ud83d": "half \udc00"}, "x")
@example(float("nan"), 1)
def test_a_message_is_one_line_of_strict_json_to_whoever_splits_it(value: Any, id: int | str) -> None:
    """Issue: U+2028 and U+2029 end a line in JavaScript, and eight more characters in Python's `splitlines`."""
    line = written(JSONRPCResponse(jsonrpc="2.0", id=id, result={"value": value}))
    assert line.endswith(b"\n") and len(line.decode().splitlines()) == 1
    found = json.loads(line, parse_constant=pytest.fail)
    assert found["id"] == id and found["result"].keys() == {"value"}
    if isinstance(value, str) and value.isprintable():
        assert found["result"]["value"] == value


def test_a_result_that_cannot_be_written_is_an_error_and_no_silence() -> None:
    """A fault of ours must cost the client one answer, not the connection."""
    deep: Any = {}
    for _ in range(100_000):
        deep = {"a": deep}
    for value in (object(), deep):
        line = written(JSONRPCResponse(jsonrpc="2.0", id=3, result={"value": value}))
        assert json.loads(line)["id"] == 3 and json.loads(line)["error"]["code"] == -32603
