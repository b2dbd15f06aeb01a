"""Timers keep to a clock that knows of sleep, whatever becomes of the wall clock."""

import time

import anyio
import pytest
from anyio.lowlevel import checkpoint

from evi_mcp.clock import SystemClock, sleep, timeout
from tests.clocks import HandClock

pytestmark = pytest.mark.anyio


async def test_a_timer_fires_soon_after_the_machine_has_slept_past_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A laptop closed for an hour: the event loop's own clock stood still, and a pause must not last an hour longer."""
    monkeypatch.setattr("evi_mcp.clock.CHECK_S", 0.01)
    slept = 0.0
    clock = SystemClock(lambda: time.monotonic() + slept)
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(clock.run)
            with timeout(clock, 3600.0) as hour:
                async with anyio.create_task_group() as sleepers:
                    sleepers.start_soon(sleep, clock, 1800.0)
                    await checkpoint()
                    slept = 3600.0
                await anyio.sleep_forever()
            assert hour.cancelled_caught
            group.cancel_scope.cancel()


async def test_an_hour_passes_at_once_on_a_clock_moved_by_hand() -> None:
    """What reckons with time is tested without waiting for any of it."""
    clock, woke = HandClock(), list[float]()

    async def wake_after(seconds: float) -> None:
        await sleep(clock, seconds)
        woke.append(clock.elapsed() - 1000.0)

    async with anyio.create_task_group() as group:
        for seconds in (3600.0, 1.0, 30.0):
            group.start_soon(wake_after, seconds)
        await clock.advance(29.0)
        assert woke == [1.0]
        clock.set_back(3600.0)
        await clock.advance(4000.0)
    assert woke == [1.0, 30.0, 3600.0]
