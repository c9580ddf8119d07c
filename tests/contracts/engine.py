"""What every engine of replicas must do. Subclass `EngineContract`, provide `world`, inherit all.

Each test says one sentence of the port (`reconcilers.ports`).
"""

import pytest

from tests.contracts.engine_conversing import EngineConversingContract
from tests.contracts.engine_foreign import ForeignContract
from tests.contracts.engine_grounds import GroundsContract
from tests.contracts.engine_io import IoContract
from tests.contracts.engine_kept import KeptContract
from tests.contracts.engine_life import LifeContract
from tests.contracts.engine_owners import OwnersContract
from tests.contracts.engine_world import World


class EngineContract(
    LifeContract,
    KeptContract,
    OwnersContract,
    ForeignContract,
    IoContract,
    EngineConversingContract,
    GroundsContract,
):
    """Provide `world`: an (async) fixture that yields a fresh `World` and cleans up after it."""

    @pytest.fixture
    def world(self) -> World:
        raise NotImplementedError
