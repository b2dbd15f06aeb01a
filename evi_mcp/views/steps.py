"""A barge-in, step by step."""

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # pydantic refuses that of `typing` before Python 3.12

from evi_mcp.quoting import quote
from evi_mcp.views import shapes


class Step(TypedDict):
    """A command that was sent; `seq` is its event."""

    seq: shapes.Seq


class Steps(TypedDict):
    """What was done about EVI's silence. `paused` and `resumed` are the commands that were sent; if there is none,
    `not_paused` and `not_resumed` say why."""

    paused: NotRequired[Step]
    not_paused: NotRequired[str]
    resumed: NotRequired[Step]
    not_resumed: NotRequired[str]
    pause_s: NotRequired[Annotated[float, Field(description="How long EVI was paused, in seconds; absent if it is.")]]
    resumes_at: NotRequired[str]


class BargeIn(shapes.Receipt, Steps):
    """The receipt of the line, and what was done before and after it."""


def barge_in(line: shapes.Receipt, steps: Steps) -> BargeIn:
    """Both as one."""
    return {**line, **steps}


def barge_in_text(shown: BargeIn) -> str:
    """The same as text: one line for each step, then what is still to come."""
    lines = [_pause(shown), _line(shown), _resume(shown)]
    if "resumes_at" in shown:
        lines.append(f"EVI is paused now, and resumed by itself at {shown['resumes_at'][11:19]}, if not before")
    if "warning" in shown:
        lines.append(f"warning: {shown['warning']}")
    return "\n".join(lines)


def _pause(shown: BargeIn) -> str:
    if "paused" in shown:
        return f"EVI was paused (event {shown['paused']['seq']})"
    return f"EVI was not paused: {shown.get('not_paused', '')}"


def _line(shown: BargeIn) -> str:
    if shown["status"] == "confirmed":
        proof = f"it was seen to speak the line in event {shown.get('confirmed_by')}"
    elif shown["status"] == "reworded":
        proof = f"it spoke other words, {quote(shown.get('said', ''))}, in event {shown.get('confirmed_by')}"
    else:
        proof = "the line was sent, and was not seen to be spoken; do not send it again"
    return f"assistant_input {shown['status']}: {proof} (event {shown['seq']})"


def _resume(shown: BargeIn) -> str:
    if "resumed" in shown:
        after = f" {shown['pause_s']:g} s after the pause" if "pause_s" in shown else ""
        return f"EVI was told to go on{after} (event {shown['resumed']['seq']})"
    if "not_resumed" in shown:
        return f"EVI was not told to go on: {shown['not_resumed']}"
    return "EVI was not told to go on, since it was not paused for this"
