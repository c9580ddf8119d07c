"""Conversations with commands in pods keep the contract; the double really runs the program."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from adapters.k8s.engine import KubernetesEngine
from reconcilers.conversing import END_OF_INPUT
from reconcilers.ports import EngineError, EngineUnavailable
from tests.contracts.conversing import SMALL, Beside, ConversingContract
from tests.support import program
from tests.support.kubernetes import pods
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.really import really
from tests.support.kubernetes.server import KubernetesServer
from tests.support.pod_engine import deploy, engine, replica

PROGRAM = (sys.executable, "-I", "-S", str(program.__file__))


@pytest.fixture
async def server() -> AsyncIterator[KubernetesServer]:
    async with KubernetesServer() as started:
        deploy(started)
        started.pods.commands[PROGRAM[0]] = really
        yield started


@pytest.fixture
async def opened(server: KubernetesServer, tmp_path: Path) -> AsyncIterator[KubernetesEngine]:
    async with engine(kubeconfig(tmp_path / "config", server.url)) as found:
        yield found


class TestKubernetesConversations(ConversingContract):
    @pytest.fixture
    async def beside(self, opened: KubernetesEngine) -> Beside:
        return Beside(opened.ports.io, await replica(opened), PROGRAM)

    async def test_an_older_cluster_cannot_be_told_the_end_of_input(
        self, beside: Beside, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pods, "PROTOCOLS", pods.PROTOCOLS[1:])
        async with beside.conversation() as talk:
            talk.type(b"hello\n")
            await talk.hear(b"hello\n")
            talk.type(END_OF_INPUT)
            with pytest.raises(EngineError, match="cannot be told that the input has ended"):
                await talk.end()
        async with beside.conversation(terminal=SMALL) as talk:
            talk.type(END_OF_INPUT)
            assert (await talk.end())[0] == 7

    async def test_a_connection_that_breaks_is_no_end(
        self, beside: Beside, server: KubernetesServer
    ) -> None:
        async def breaks(session: pods.Session) -> int:
            session.cut()
            return await really(session)

        server.pods.commands[PROGRAM[0]] = breaks
        async with beside.conversation() as talk:
            with pytest.raises(EngineUnavailable):
                await talk.end()
