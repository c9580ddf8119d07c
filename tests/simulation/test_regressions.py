"""What simulated worlds found broken, each as the shortest story that shows it."""

import asyncio
from contextlib import suppress

import pytest

from bus.log import LogUnavailable
from domain import intents as i
from domain.names import app
from domain.refusals import NotFound
from simulation import loop
from simulation.log import LogFaults, SimulatedLog
from simulation.sweep import Run, tell
from tests.support.house import House
from tests.support.intents import manifest

WEB = app("shop", "web")


def test_a_refusal_that_rests_on_old_knowledge_is_decided_again() -> None:
    """`ControlPlaneMachine`: an app whose making was answered by silence never got its image.

    The process did not know what it had itself committed, refused what followed as being about no
    app, and kept that refusal under the key of the image for ever.
    """

    async def main() -> None:
        faults = LogFaults()
        house = House(log=SimulatedLog(faults=faults))
        await house.furnish()
        with suppress(NotFound):
            await house.send(i.Scale(ref=WEB, replicas=2))  # from now on it knows of no such app
        faults.swallows = lambda: LogUnavailable("the answer was lost")
        with pytest.raises(LogUnavailable):
            await house.send(manifest("App", "web", {"image": "web:1"}))
        faults.swallows = lambda: None
        async with house.working():
            await asyncio.sleep(60)
            assert house.running() == [(1, 0, 1)]
        answer = await house.send(i.Scale(ref=WEB, replicas=2))
        assert answer.changes[0].result == "configured"

    loop.run(main())


def test_a_refused_start_of_what_is_wanted_no_more_is_not_told_for_ever() -> None:
    """`move`: an app was called degraded long after it had arrived.

    Its former revision could not start on the new target, which has other images; that was told
    until the next intent.
    """
    assert tell(Run("move")).end["status of App/shop/web"][2][1:] == ("False", "AsExpected")
