"""What supervision costs a bot, in its own process: `make bench-link`. Nothing here passes or fails.

Two things are measured, with a hub that reads, one that reads nothing, and none: how long a call of the link takes,
and how long a frame takes through a Pipecat pipeline with and without supervision.
"""

import asyncio
import logging
import multiprocessing
import statistics
import sys
import time
from collections import defaultdict
from multiprocessing.connection import Connection
from typing import Any

from evi_mcp.link import ChatLink
from tests.link.fake_hub import KEY, fake_hub

CALLS = 20_000
FRAMES = 1_500
ROUNDS = 4
PROCESSORS = 8
FRAME_S = 0.004
HUBS = ("reads", "reads nothing", "is gone")


def hub(kind: str, address: Connection) -> None:
    """A hub in a process of its own, as a bot has it."""

    async def serve() -> None:
        async with fake_hub(ack_every=20) as served:
            if kind == "reads nothing":
                served.reads.clear()
            address.send(served.url)
            if kind == "is gone":
                await served.kill()
            await asyncio.sleep(3600)

    asyncio.run(serve())


def main() -> None:
    logging.disable()  # of hubs that are gone
    asyncio.run(frames(None))  # to warm up
    told: dict[str, list[list[float]]] = defaultdict(list)
    for round_ in range(1, ROUNDS + 1):
        print(f"round {round_} of {ROUNDS}", file=sys.stderr, flush=True)
        told["a frame, no supervision"].append(asyncio.run(frames(None)))
        for kind in HUBS:
            receiver, sender = multiprocessing.Pipe(duplex=False)
            process = multiprocessing.Process(target=hub, args=(kind, sender), daemon=True)
            process.start()
            url = receiver.recv()
            told[f"a message, hub {kind}"].append(asyncio.run(calls(url)))
            told[f"a frame, hub {kind}"].append(asyncio.run(frames(url)))
            process.kill()
    print(f"{'milliseconds':30} {'p50':>8} {'p99':>8} {'max':>8}   of the round that was disturbed least")
    for what, rounds in sorted(told.items()):
        show(what, min(rounds, key=p99))


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[int(len(seconds) * 0.99)]


def show(what: str, seconds: list[float]) -> None:
    figures = (statistics.median(seconds), p99(seconds), max(seconds))
    print(f"{what:30} " + " ".join(f"{figure * 1000:8.3f}" for figure in figures))


async def calls(url: str) -> list[float]:
    """How long the bot stands still for each message that it tells."""
    took = []
    async with ChatLink(url, key=KEY) as link:
        for number in range(CALLS):
            before = time.perf_counter()
            link.user_message(f"This is what the caller said, for the {number}th time.")
            took.append(time.perf_counter() - before)
            if number % 20 == 0:
                await asyncio.sleep(0.001)
        await link.stop(flush_s=0)
    return took


async def frames(url: str | None) -> list[float]:
    """How long a frame takes from one end of a pipeline to the other, every sixteenth of them something to tell."""
    from loguru import logger
    from pipecat.frames.frames import Frame, InterimTranscriptionFrame, OutputAudioRawFrame
    from pipecat.pipeline.pipeline import Pipeline
    from pipecat.pipeline.worker import PipelineWorker
    from pipecat.processors.aggregators.llm_context import LLMContext
    from pipecat.processors.frame_processor import FrameProcessor
    from pipecat.workers.runner import WorkerRunner

    from evi_mcp.link.pipecat import supervise

    logger.remove()
    logger.add(sys.stderr, level="ERROR")
    took: list[float] = []
    began: dict[int, float] = {}

    class Passing(FrameProcessor):  # type: ignore[misc]  # foreign, and not installed where this is checked
        async def process_frame(self, frame: Frame, direction: Any) -> None:
            await super().process_frame(frame, direction)
            await self.push_frame(frame, direction)

    class Last(Passing):
        async def process_frame(self, frame: Frame, direction: Any) -> None:
            await super().process_frame(frame, direction)
            if (at := began.pop(frame.id, None)) is not None:
                took.append(time.perf_counter() - at)

    worker = PipelineWorker(Pipeline([*(Passing() for _ in range(PROCESSORS)), Last()]), idle_timeout_secs=None)
    if url is not None:
        supervise(worker, LLMContext(), hub=url, key=KEY)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)

    async def feed() -> None:
        await asyncio.sleep(0.5)
        for number in range(FRAMES):
            frame: Any = OutputAudioRawFrame(audio=bytes(640), sample_rate=16_000, num_channels=1)
            if number % 16 == 0:
                frame = InterimTranscriptionFrame(text=f"and so on {number}", user_id="u", timestamp="")
            began[frame.id] = time.perf_counter()
            await worker.queue_frame(frame)
            await asyncio.sleep(FRAME_S)
        await worker.cancel()

    feeding = asyncio.create_task(feed())
    await runner.run()
    await feeding
    return took


if __name__ == "__main__":
    main()
