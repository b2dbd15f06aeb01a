"""A run's counts as text."""

from collections.abc import Iterable

from tests.chaos.count import Commands, Events
from tests.chaos.run import Outcome

MAX_PROBLEMS = 20

_EVENTS = ("truth", "log", "lost", "doubled", "invented", "out_of_order", "late", "faults")
_COMMANDS = ("asked", "written", "refused", "maybe", "on_the_way", "twice", "wrong", "answered_twice")
_HEADS = {
    "truth": "truth",
    "log": "log",
    "lost": "lost",
    "doubled": "doubled",
    "invented": "invented",
    "out_of_order": "order",
    "late": "late",
    "faults": "faults",
    "asked": "asked",
    "written": "once",
    "refused": "refused",
    "maybe": "maybe",
    "on_the_way": "en route",
    "twice": "twice",
    "wrong": "untrue",
    "answered_twice": "ans. twice",
}

LEGEND = """\
events as each reader had them (memory: in process, watcher: all chats with one cursor, stdio: another process):
  truth: happened; log: read; invented: read, but never happened; order: out of it; late: may be, since the proxy kept
  it (or one just like it) back at first; faults: protocol_fault events
commands: asked for; once: received by the service, once; refused: with a reason, nothing received; maybe: the error
  says that it may have been sent; en route: written, but the connection broke before the service had it (no receipt
  says confirmed); twice: received twice; untrue: a receipt or a refusal that is not so; ans. twice: tool calls\
"""


def table(outcome: Outcome) -> str:
    """One row for each chat and reader, and a sum for each reader; commands stand with the first reader of a chat."""
    heads = ["chat", "reader", *(_HEADS[name] for name in _EVENTS), "|", *(_HEADS[name] for name in _COMMANDS)]
    lines = [LEGEND, "", _row(heads)]
    for (reader, chat_id), one in sorted(outcome.events.items(), key=lambda item: (item[0][1], item[0][0])):
        commands = outcome.commands[chat_id] if reader != "watcher" else None
        lines.append(_row([chat_id, reader, *_cells(one), "|", *(_command_cells(commands) if commands else ())]))
    for reader in sorted({reader for reader, _ in outcome.events}):
        mine = [one for (name, _), one in outcome.events.items() if name == reader]
        sums = [sum(getattr(one, name) for one in mine) for name in _EVENTS]
        lines.append(_row(["all", reader, *sums, "|"]))
    return "\n".join(lines)


def details(outcome: Outcome) -> str:
    """The faults that took place, and the first of what must not be."""
    faults = ", ".join(f"{count} {name}" for name, count in sorted(outcome.faults.items()))
    lines = [f"{outcome.faults.total()} faults: {faults}; {outcome.reconnects.total()} reconnects"]
    lines += [f"PROBLEM {problem}" for problem in outcome.problems[:MAX_PROBLEMS]]
    if len(outcome.problems) > MAX_PROBLEMS:
        lines.append(f"and {len(outcome.problems) - MAX_PROBLEMS} more")
    return "\n".join(lines)


def totals(outcome: Outcome) -> str:
    """Everything in one line."""
    events = ", ".join(f"{_HEADS[name]} {_sum(outcome.events.values(), name)}" for name in _EVENTS)
    commands = ", ".join(f"{_HEADS[name]} {_sum(outcome.commands.values(), name)}" for name in _COMMANDS)
    verdict = "FAILED" if outcome.problems else "ok"
    faults = f"{outcome.faults.total()} faults met, {outcome.reconnects.total()} reconnects"
    return f"seed {outcome.seed}: {verdict}; {faults}; events: {events}; commands: {commands}"


def _sum(counts: Iterable[Events | Commands], name: str) -> int:
    return sum(getattr(one, name) for one in counts)


def _cells(one: Events) -> list[object]:
    return [getattr(one, name) for name in _EVENTS]


def _command_cells(one: Commands) -> list[object]:
    return [getattr(one, name) for name in _COMMANDS]


def _row(cells: Iterable[object]) -> str:
    return " ".join(f"{cell!s:>{10 if number < 2 else 8}}" for number, cell in enumerate(cells))
