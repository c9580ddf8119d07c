"""What is late or confused excuses what is done to the apps that it touches, and never a rewind."""

import pytest

from simulation import loop
from simulation.invariants.engines import BEGUN, EVERYTHING, KNOWS_AFTER
from simulation.invariants.violations import Invariant
from simulation.machine import Deed
from simulation.world import INSTALLATION, World

WEB, API = "App/shop/web", "App/shop/api"


def broken(world: World, *, sent: float) -> list[Invariant]:
    """What a start that was asked for at `sent` breaks."""
    world.engines.deed(Deed(INSTALLATION, "start", "shop", "web", None, sent))
    found = [one.invariant for one in world.violations]
    world.violations.clear()
    return found


def test_a_late_call_confuses_the_app_that_it_is_about() -> None:
    async def live() -> None:
        engines = World(1).engines
        engines.confused(60.0, WEB)
        assert engines.is_confused(WEB)
        assert not engines.is_confused(API)
        engines.confused(60.0)
        assert engines.is_confused(API)

    loop.run(live())


@pytest.mark.parametrize("stream", [WEB, EVERYTHING])
def test_no_confusion_excuses_what_is_asked_for_after_a_rewind(stream: str) -> None:
    async def live() -> None:
        world = World(1)
        world.engines.confused(1000.0, stream)
        world.engines.rewound_since = lambda: 50.0
        assert broken(world, sent=50.0 + BEGUN) == []
        assert broken(world, sent=51.0 + BEGUN) == [Invariant.REWOUND]
        world.engines.stands(80.0)  # and then it goes on with what it had begun
        assert broken(world, sent=80.0 + BEGUN) == []
        assert broken(world, sent=81.0 + BEGUN) == [Invariant.REWOUND]

    loop.run(live())


@pytest.mark.parametrize("stream", [WEB, EVERYTHING])
def test_no_confusion_excuses_what_is_done_to_a_stream_that_cannot_be_read(stream: str) -> None:
    async def live() -> None:
        world = World(1)
        world.engines.confused(1000.0, stream)
        world.engines.frozen_since[WEB] = 50.0
        assert broken(world, sent=50.0 + KNOWS_AFTER) == []
        assert broken(world, sent=51.0 + KNOWS_AFTER) == [Invariant.FROZEN]
        world.engines.unread(80.0)
        assert broken(world, sent=80.0 + KNOWS_AFTER) == []
        assert broken(world, sent=81.0 + KNOWS_AFTER) == [Invariant.FROZEN]

    loop.run(live())
