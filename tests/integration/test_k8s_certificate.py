"""A target whose client certificate ends while it is worked with."""

from datetime import timedelta
from pathlib import Path

from domain import intents as i
from domain.names import app
from tests.integration.test_k8s_worker import spec
from tests.support.cluster_house import ClusterHouse
from tests.support.intents import manifest
from tests.support.kubernetes.certificates import certified
from tests.support.kubernetes.reaching import kubeconfig
from tests.support.kubernetes.server import KubernetesServer

PAST = timedelta(minutes=-1)


async def test_it_is_unknown_and_says_why_and_heals_when_the_file_is_renewed(
    tmp_path: Path,
) -> None:
    made = certified(tmp_path)
    made.ask()
    async with KubernetesServer(made.server) as server:
        house = ClusterHouse(server, tmp_path)
        trust = {"certificate-authority": str(made.authority)}
        user = made.client("deployer")
        house.config = kubeconfig(tmp_path / "config", server.url, user, cluster=trust)
        async with house.working():
            await house.furnish()
            await house.send(manifest("App", "web", spec()))
            await house.ready()
            made.client("deployer", valid=PAST)
            await server.kill()  # who is connected is not asked for it again
            await house.until(lambda: house.reason("Ready") == ("Unknown", "TargetUnreachable"))
            await server.start()
            await house.send(i.Scale(ref=app("shop", "web"), replicas=3))

            def is_named() -> bool:
                status = house.of()
                told = status.condition("Ready") if status is not None else None
                return told is not None and "certificate 'CN=deployer'" in told.message

            await house.until(is_named)
            made.client("deployer")
            await house.ready()
            await house.until(lambda: len(house.all("Pod")) == 3)
        await house.parts.targets.close()
