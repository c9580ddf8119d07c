"""What every router must do, seen by clients. Subclass `RouterContract`, provide `world`.

Each test says one sentence of the port (`reconcilers.router_ports`), by real requests.
"""

import pytest

from tests.contracts.router_domains import DomainContract
from tests.contracts.router_edge import EdgeContract
from tests.contracts.router_endpoints import EndpointsContract
from tests.contracts.router_matching import MatchingContract
from tests.contracts.router_streams import StreamsContract
from tests.contracts.router_trouble import TroubleContract
from tests.contracts.router_world import RouterWorld


class RouterContract(
    MatchingContract,
    EndpointsContract,
    StreamsContract,
    EdgeContract,
    DomainContract,
    TroubleContract,
):
    """Provide `world`: an (async) fixture that yields a `RouterWorld`."""

    @pytest.fixture
    def world(self) -> RouterWorld:
        raise NotImplementedError
