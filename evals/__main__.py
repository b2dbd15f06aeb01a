"""The command `python -m evals`."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import click
import httpx

from evals.agent import Agent, Limits
from evals.call import CallLost, simulated_call
from evals.endpoint import Endpoint
from evals.record import Record
from evals.report import details, mean, table
from evals.scoring import score
from evi_mcp.clock import Clock, SystemClock
from evi_mcp.simulator.scenario import scenarios

FAILED = 1
DEFAULTS = Limits()


async def play(endpoint: Endpoint, call: str, limits: Limits, speed: float, clock: Clock) -> Record:
    """Plays a call in a server of its own; what happened."""
    record = Record(call)
    try:
        async with simulated_call(call, speed, clock) as simulated:
            await Agent(endpoint, simulated, record, limits, clock).supervise()
    except* CallLost as lost:
        record.ended = f"call lost: {_first(lost)}"
    return record


async def _play_all(
    calls: Sequence[str], base_url: str, key: str, model: str, limits: Limits, speed: float
) -> list[Record]:
    clock = SystemClock()
    records = []
    async with httpx.AsyncClient() as client, anyio.create_task_group() as group:
        group.start_soon(clock.run)
        endpoint = Endpoint(client, base_url, key, model, clock)
        for call in calls:
            click.echo(f"{call} ...", err=True)
            records.append(await play(endpoint, call, limits, speed, clock))
        group.cancel_scope.cancel()
    return records


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("calls", nargs=-1, type=click.Choice(list(scenarios())))
@click.option("--base-url", envvar="OPENAI_BASE_URL", required=True, show_envvar=True, help="Of the endpoint.")
@click.option("--model", envvar="EVALS_MODEL", required=True, show_envvar=True, help="Its name at the endpoint.")
@click.option("--speed", default=1.0, show_default=True, type=click.FloatRange(0.1, 100), help="Of the calls.")
@click.option("--turns", default=DEFAULTS.turns, show_default=True, help="Requests to the model, for a call.")
@click.option("--tokens", default=DEFAULTS.tokens, show_default=True, help="Of all requests of a call.")
@click.option("--seconds", default=DEFAULTS.seconds, show_default=True, help="For a call.")
@click.option("--at-least", default=0.0, metavar="POINTS", help="Status 1 if the mean is below.")
@click.option("--json", "json_file", type=click.Path(path_type=Path), help="Writes all details there.")
@click.pass_context
def main(
    ctx: click.Context,
    calls: tuple[str, ...],
    base_url: str,
    model: str,
    speed: float,
    turns: int,
    tokens: int,
    seconds: float,
    at_least: float,
    json_file: Path | None,
) -> None:
    """Play simulated calls with a model as the supervisor, and score what comes of it.

    CALLS are names of scripted calls; all, if none is named. OPENAI_API_KEY is the key of the endpoint, if it wants
    one. Status 1 if the endpoint or a server failed.
    """
    key = os.environ.get("OPENAI_API_KEY", "")  # no option: whoever lists processes sees those
    records = anyio.run(
        _play_all, calls or tuple(scenarios()), base_url, key, model, Limits(turns, tokens, seconds), speed
    )
    played = [(record, score(record)) for record in records]
    click.echo(table(played))
    if json_file is not None:
        json_file.write_text(json.dumps(details(played), indent=2, ensure_ascii=False), "utf-8")
    failed = any(record.ended.startswith(("endpoint failed", "call lost")) for record in records)
    ctx.exit(FAILED if failed or mean(played) < at_least else 0)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


if __name__ == "__main__":
    sys.exit(main())
