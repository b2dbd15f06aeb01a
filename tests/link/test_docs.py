"""What docs/bots.md says is true."""

import ast
import asyncio
import re
from pathlib import Path

import pytest

import evi_mcp.link
from evi_mcp.link import connecting, dialing, messages, outbox, supervised_tools
from tests.link.fake_hub import KEY, fake_hub

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "bots.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_every_example_is_python(number: int) -> None:
    """An example is copied as it stands."""
    ast.parse(BLOCKS[number])


@pytest.mark.anyio
async def test_the_bot_of_your_own_runs() -> None:
    """The whole of it, but for the address of the hub."""
    (block,) = (block for block in BLOCKS if "asyncio.run" in block)
    async with fake_hub() as hub:
        code = block.replace("http://127.0.0.1:8770", hub.url).replace("source=", f'key="{KEY}", source=')
        await asyncio.to_thread(exec, compile(code, "docs/bots.md", "exec"), {})
        chat = await hub.chat()
    assert chat.texts("user_message") == ["Where is my parcel?"] and chat.texts("assistant_message") == ["In Lyon."]
    assert chat.hellos[0]["supports"] == ["assistant_input"] and chat.ended == "the bot left"


@pytest.mark.parametrize("framework", ["pipecat", "livekit"])
def test_every_argument_that_is_named_exists(framework: str) -> None:
    """Without the frameworks, which need an environment of their own."""
    source = (ROOT / "evi_mcp" / "link" / framework / "supervision.py").read_text()
    functions = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef))
    supervise = next(node for node in functions if node.name == "supervise")
    known = {argument.arg for argument in supervise.args.kwonlyargs}
    (block,) = (block for block in BLOCKS if f"evi_mcp.link.{framework} import" in block)
    calls = (node for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Call))
    used = next(node for node in calls if isinstance(node.func, ast.Name) and node.func.id == "supervise")
    assert {keyword.arg for keyword in used.keywords} <= known


def test_the_figures_are_those_of_the_code() -> None:
    """A limit that moves must move here too."""
    assert f"{outbox.MAX_MESSAGES:,} messages, {outbox.MAX_BYTES >> 20} MiB" in PAGE
    assert f"up to every {connecting.LAST_DELAY_S:g} s" in PAGE and f"after {connecting.FIRST_DELAY_S:g} s" in PAGE
    assert f"acknowledges nothing for {dialing.STALL_S:g} s" in PAGE
    assert f"a frame over {connecting.MAX_COMMAND_BYTES >> 20} MiB" in PAGE
    assert f"over {messages.MAX_MESSAGE_BYTES >> 20} MiB" in PAGE and f"over {messages.MAX_TEXT >> 10} Ki" in PAGE
    assert f"`tool_timeout_s` ({supervised_tools.TIMEOUT_S:g} seconds)" in PAGE
    assert outbox.DROPPED in PAGE


def test_every_command_is_named() -> None:
    """A bot's author looks for the handlers here."""
    for name in evi_mcp.link.__all__:
        if isinstance(getattr(evi_mcp.link, name), type) and hasattr(getattr(evi_mcp.link, name), "type"):
            assert f"`{name}`" in PAGE or name == "Command", name
