"""Probing by target: simulated replicas are asked in memory, all others over the network."""

from typing import final, override

from domain.app import Check
from reconcilers.ports import Prober, ProbeResult, Replica, ReplicaIO
from simulation.looking import SimulatedIO, SimulatedProber


@final
class ProberByTarget(Prober):
    def __init__(self, network: Prober) -> None:
        self._network = network

    @override
    async def probe(self, check: Check, replica: Replica, io: ReplicaIO) -> ProbeResult:
        prober = SimulatedProber(io.machine) if isinstance(io, SimulatedIO) else self._network
        return await prober.probe(check, replica, io)
