"""Writes the pages that are made from the code; with `--check`, says which are stale (status 1)."""

import asyncio
import json
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import mcp_types as types
import services_page
from mcp import Client

from evi_mcp.access.callers import Access
from evi_mcp.chat.trigger_forms import FORMS
from evi_mcp.config import Settings, rows
from evi_mcp.hub import Hub
from evi_mcp.server.server import EviServer
from evi_mcp.server.tools import ALL_TOOLS, ToolSpec
from evi_mcp.supervision.service import open_service

ROOT = Path(__file__).parent.parent
TEMPLATES = ROOT / "docs" / "templates"
BEGIN, END = "<!-- made by `make docs`: tools -->", "<!-- end -->"


def settings_page() -> str:
    """The table of settings."""
    lines = [
        f"| `{row.variable}` | `{row.flag}` | {f'`{row.default}`' if row.default else 'none'} | {row.description} |"
        for row in rows()
    ]
    return _template("settings", settings="\n".join(lines))


def tools_page(served: "Served") -> str:
    """What an agent can do, with every parameter and result."""
    return _template(
        "tools",
        tools="\n".join(_tool_section(tool) for tool in served.tools),
        shapes=_result_shapes(served.tools),
        parameters=_parameter_shapes(),
        triggers=_triggers(),
        resources="\n".join(
            f"| `{item.uri_template}` | {item.mime_type} | {item.description} |" for item in served.templates
        ),
        prompts="\n".join(
            f"| `{item.name}({', '.join(argument.name for argument in item.arguments or ())})` | {item.description} |"
            for item in served.prompts
        ),
        example=(ROOT / "examples" / "supervisor.py").read_text("utf-8"),
    )


def readme(served: "Served") -> str:
    """The README, with its list of tools as it is now."""
    text = (ROOT / "README.md").read_text("utf-8")
    before, _, rest = text.partition(BEGIN)
    lines = [
        f"| [`{tool.name}`](docs/tools.md#{tool.name}) | {_access(tool.name)} | {_sentence(tool.description)} |"
        for tool in served.tools
    ]
    table = "| Tool | Level | Does |\n| --- | --- | --- |\n" + "\n".join(lines)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.partition(END)[2]}"


class Served:
    """What a server tells a client of itself, at the highest level."""

    tools: list[types.Tool]
    templates: list[types.ResourceTemplate]
    prompts: list[types.Prompt]


async def _served() -> Served:
    served = Served()
    settings = Settings(hume_api_key=None, access=Access.BARGE, results="both")
    async with Hub(None) as hub, open_service(settings, hub.connector, hub.directory) as service:
        async with Client(EviServer(service)) as client:
            served.tools = (await client.list_tools()).tools
            served.templates = (await client.list_resource_templates()).resource_templates
            served.prompts = (await client.list_prompts()).prompts
    return served


def _template(name: str, **parts: str) -> str:
    text = (TEMPLATES / f"{name}.md").read_text("utf-8")
    for part, value in parts.items():
        text = text.replace(f"<!-- {part} -->", value.rstrip("\n"))
    return text


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _spec(name: str) -> ToolSpec:
    return next(spec for spec in ALL_TOOLS if spec.name == name)


def _access(name: str) -> str:
    return _spec(name).access.value


def _tool_section(tool: types.Tool) -> str:
    hints = tool.annotations
    assert hints is not None
    marks = [
        _access(tool.name),
        "reads only" if hints.read_only_hint else "acts",
        *(["may be repeated"] if hints.idempotent_hint and not hints.read_only_hint else []),
        *(["heard by the person on the line, or felt"] if hints.destructive_hint else []),
    ]
    lines = [
        f"### {tool.name}",
        "",
        f"**{_spec(tool.name).title}.** {_sentence(tool.description)} *({', '.join(marks)})*",
        "",
    ]
    read_by = _spec(tool.name).schema
    required = read_by.get("required", [])
    parameters: Mapping[str, Any] = read_by["properties"]
    if parameters:
        lines += ["| Parameter | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, schema in parameters.items():
        default = "required" if name in required else f"`{json.dumps(schema.get('default'))}`"
        lines.append(f"| `{name}` | {_type(schema)} | {default} | {_sentence(schema.get('description'))} |")
    lines += ["", f"Returns [{_title(tool)}](#{_title(tool).lower()}).", ""]
    return "\n".join(lines)


def _title(tool: types.Tool) -> str:
    return str((tool.output_schema or {}).get("title", "text"))


def _type(schema: Mapping[str, Any]) -> str:
    """A type as a reader wants to see it, with its bounds."""
    if "$ref" in schema:
        return str(schema["$ref"]).rsplit("/", 1)[1]
    if "anyOf" in schema or "oneOf" in schema:
        kinds = [_type(option) for option in schema.get("anyOf") or schema["oneOf"] if option.get("type") != "null"]
        return " or ".join(dict.fromkeys(kinds))
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "any")
    if kind == "array":
        return f"list of {_type(schema.get('items', {}))}"
    least, most = schema.get("minimum"), schema.get("maximum")
    bounds = f" {least:g} to {most:g}" if least is not None and most is not None else ""
    return f"{ {'object': 'object', 'string': 'text'}.get(kind, kind) }{bounds}".strip()


def _parameter_shapes() -> str:
    """Every shape that is a part of a parameter, but for triggers."""
    shapes: dict[str, Mapping[str, Any]] = {}
    for spec in ALL_TOOLS:
        arguments = spec.tool().fn_metadata.arg_model
        shapes |= arguments.model_json_schema().get("$defs", {})
    return _sections(shapes)


def _result_shapes(tools: list[types.Tool]) -> str:
    """Every shape of a structured result, once."""
    shapes: dict[str, Mapping[str, Any]] = {}
    for tool in tools:
        schema = tool.output_schema or {}
        shapes[_title(tool)] = schema
        shapes |= schema.get("$defs", {})
    return _sections(shapes)


def _sections(shapes: Mapping[str, Mapping[str, Any]]) -> str:
    sections = []
    for name, shape in shapes.items():
        lines = [
            f"### {name}",
            "",
            _sentence(shape.get("description")),
            "",
            "| Field | Type | |",
            "| --- | --- | --- |",
        ]
        for field, schema in shape.get("properties", {}).items():
            sometimes = "" if field in shape.get("required", ()) else "not always there. "
            lines.append(f"| `{field}` | {_type(schema)} | {sometimes}{_sentence(schema.get('description'))} |")
        sections.append("\n".join(lines))
    return "\n\n".join(sections)


def _triggers() -> str:
    """The kinds of triggers, as lines of a table."""
    lines = []
    for kind, (made_into, _) in FORMS.items():
        own = [field for field in fields(made_into) if field.name != "chat_id"]  # every kind has that
        shown = [f'"kind": "{kind}"', *(f'"{field.name}"{"" if field.default is MISSING else "?"}' for field in own)]
        lines.append(f"| `{{{', '.join(shown)}}}` | {_sentence(made_into.__doc__)} |")
    return "\n".join(lines)


def pages() -> dict[Path, str]:
    """Every page, and every snapshot of a tool's schema."""
    served = asyncio.run(_served())
    made = {
        ROOT / "docs" / "settings.md": settings_page(),
        ROOT / "docs" / "services.md": _template("services", services=services_page.table()),
        ROOT / "docs" / "tools.md": tools_page(served),
        ROOT / "README.md": readme(served),
    }
    for tool in served.tools:
        plain = tool.model_dump(mode="json", by_alias=True, exclude_none=True)
        made[ROOT / "tests" / "snapshots" / f"{tool.name}.json"] = json.dumps(plain, indent=2) + "\n"
    return made


def main() -> int:
    """Writes or checks every page."""
    made = pages()
    snapshots = set((ROOT / "tests" / "snapshots").glob("*.json"))
    stale = [page for page, text in made.items() if not page.exists() or page.read_text("utf-8") != text]
    gone = sorted(snapshots - made.keys())
    if "--check" in sys.argv:
        for page in (*stale, *gone):
            print(f"{page.relative_to(ROOT)} is stale; run `make docs` and look at what it changes")
        return 1 if stale or gone else 0
    for page in gone:
        page.unlink()
    for page in stale:
        page.parent.mkdir(exist_ok=True)
        page.write_text(made[page], "utf-8")
        print(f"wrote {page.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
