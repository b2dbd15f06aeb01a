"""The command line: help that helps, and one line and status 2 for misuse."""

import pytest

from evi_mcp.config import rows
from tests.process.conftest import evi_mcp

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("arguments", "environment", "said"),
    [
        (["fly"], {}, "No such command 'fly'"),
        (["serve", "--no-such-flag"], {}, "No such option"),
        (["--max-chats", "0"], {}, "--max-chats: input should be greater than or equal to 1"),
        ([], {"EVI_MCP_MAX_CHATS": "many"}, "EVI_MCP_MAX_CHATS: input should be a valid integer"),
        ([], {"EVI_MCP_BASE_URL": "ftp://x"}, "EVI_MCP_BASE_URL: must look like https://host"),
        ([], {"EVI_MCP_BASE_URL": "https://me:pw@x"}, "must have no user name"),
        ([], {"EVI_MCP_BASE_URL": "https://x\x1f"}, "EVI_MCP_BASE_URL: has a character in it that no URL may have"),
        ([], {"EVI_MCP_BASE_URL": "https://x\r\nY: z"}, "EVI_MCP_BASE_URL: has a character in it that no URL may have"),
        ([], {"EVI_MCP_BASE_URL": "https://x y"}, "EVI_MCP_BASE_URL: has a character in it that no URL may have"),
        ([], {"EVI_MCP_BASE_URL": "https://x\\y"}, "EVI_MCP_BASE_URL: has a character in it that a host"),
        (
            [],
            {"EVI_MCP_BASE_URL": "http://evi.invalid"},
            "EVI_MCP_BASE_URL: http to another machine sends the key in clear",
        ),
        (["--base-url", "HTTP://10.0.0.1:80"], {}, "allow it with EVI_MCP_ALLOW_PLAIN_HTTP=on"),
        (["--base-url", "http://127.0.0.1.evil.invalid"], {}, "sends the key in clear text"),
        (["doctor", "--base-url", "http://evi.invalid"], {}, "sends the key in clear text"),
        (["--allow-plain-http", "perhaps"], {}, "--allow-plain-http: input should be a valid boolean"),
        (["--memory-mib", "1"], {}, "--memory-mib: input should be greater than or equal to 64"),
        ([], {"EVI_MCP_ACCESS": "root"}, "EVI_MCP_ACCESS: input should be 'monitor', 'coach' or 'barge'"),
        ([], {"EVI_MCP_ACESS": "monitor"}, "EVI_MCP_ACESS is not a setting"),
        (["simulate", "--port", "70000"], {}, "70000"),
        ([], {"EVI_MCP_ALLOWED_CHATS": ","}, 'EVI_MCP_ALLOWED_CHATS: "" in it is not a chat id'),
        ([], {"EVI_MCP_ALLOWED_CHATS": "a b"}, 'EVI_MCP_ALLOWED_CHATS: "a b" in it is not a chat id'),
        (["--max-chats", "0", "--log-events", "0"], {}, "--log-events: input should be"),
        (["serve", "--simulate", "--base-url", "http://x"], {}, "leave --base-url away"),
        (["serve", "--simulate=bill"], {}, "no simulated call 'bill'; there are billing, booking, quiet, support."),
        (["serve", "--simulate-speed", "2"], {}, "--simulate-speed is for --simulate"),
        (["serve", "--simulate", "--simulate-speed", "0"], {}, "0"),
    ],
)
async def test_misuse_is_status_two_and_one_line_on_stderr(
    arguments: list[str], environment: dict[str, str], said: str
) -> None:
    """Our contract (section 2)."""
    async with evi_mcp(*arguments, environment=environment) as process:
        status, log = await process.ended()
    assert (status, process.lines) == (2, [])
    assert said in log and log.count("\n") == 1 and "pw@" not in log


async def test_help_names_every_setting_with_its_variable() -> None:
    """Our contract (section 2): every setting is a flag and a variable, described once."""
    async with evi_mcp("serve", "--help") as process:
        assert process.process.stdout is not None
        text = (await process.process.stdout.read()).decode()
    for row in rows():
        assert row.flag in text and row.variable in text
    assert "--simulate" in text


async def test_the_flag_wins_over_the_variable() -> None:
    """As everywhere: what is said last and nearest holds."""
    async with evi_mcp("--max-chats", "x", EVI_MCP_MAX_CHATS="5") as process:
        assert (await process.ended())[0] == 2
