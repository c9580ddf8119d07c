"""Processes that share a log and one that is alone never work over it together."""

import pytest

from adapters.postgres.company import Presence
from bus.log import LogUnusable

pytestmark = pytest.mark.needs("postgres")


async def test_who_is_alone_lets_nobody_in_and_those_who_share_let_in_others_who_share(
    database: str,
) -> None:
    first = await Presence.announce(database, alone=True)
    for alone in (True, False):
        with pytest.raises(LogUnusable, match=r"nats.servers"):
            await Presence.announce(database, alone=alone, patience_seconds=0.0)
    await first.close()
    several = [await Presence.announce(database, alone=False) for _ in range(2)]
    with pytest.raises(LogUnusable):
        await Presence.announce(database, alone=True, patience_seconds=0.0)
    for one in several:
        await one.close()
    again = await Presence.announce(database, alone=True)
    await again.close()
