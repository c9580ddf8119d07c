"""The engine of one cluster, put together: a copy of what is ours there, and the ports over it."""

import random
from collections.abc import Callable
from typing import Final, NamedTuple, final

from adapters.k8s.access import Access
from adapters.k8s.cluster import Cluster
from adapters.k8s.copying import Copy
from adapters.k8s.errors import KubernetesError
from adapters.k8s.foreign import KubernetesForeign
from adapters.k8s.io import PodIO
from adapters.k8s.kinds import BUILT_IN
from adapters.k8s.kubeconfig import AccessRefused
from adapters.k8s.objects import KubernetesObjects
from adapters.k8s.patience import Patience
from adapters.k8s.pods import PodReplicas
from adapters.k8s.render.renderer import KubernetesRenderer
from adapters.k8s.transport import Transport
from domain.routing import Routing
from domain.target import K8sSettings
from reconcilers.object_alike import NobodyElse, NodeImages, ObjectNews
from reconcilers.object_ports import Objects
from reconcilers.object_removal import ObjectGrounds
from reconcilers.ports import (
    Engine,
    EngineUnavailable,
    Images,
)

SYNC_SECONDS: Final = 30.0  # that the first list of all kinds may take


class Identity(NamedTuple):
    """As whom a cluster is written to: objects of other installations and targets are not ours."""

    installation: str
    target: str
    user_agent: str


@final
class KubernetesEngine:
    """An engine to close after use."""

    def __init__(self, transport: Transport, copy: Copy, ports: Engine, objects: Objects) -> None:
        self._transport, self._copy = transport, copy
        self.ports, self.objects = ports, objects

    async def close(self) -> None:
        await self._copy.close()
        await self._transport.close()


async def open_engine(
    access: Access,
    settings: K8sSettings,
    who: Identity,
    *,
    rng: random.Random,
    now: Callable[[], float],
    images: Images | None = None,
    routing: Routing | None = None,
) -> KubernetesEngine:
    """Reach a cluster, and list all that is ours there.

    `now` is seconds since the epoch. `images` says what a tag names; without it, each node finds
    out by itself.

    Raises:
        EngineUnavailable: it cannot be reached, or does not let us; the message says what to do.
    """
    transport = Transport(access, Patience(rng), user_agent=who.user_agent, now=now)
    cluster = Cluster(transport, rng)
    copy = Copy(cluster, rng, installation=who.installation, target=who.target)
    try:
        async for _ in cluster.pages(BUILT_IN["v1", "Namespace"]):
            break  # it answers, and knows us
        await copy.begin(SYNC_SECONDS)
    except (KubernetesError, AccessRefused, EngineUnavailable) as error:
        await copy.close()
        await transport.close()
        if isinstance(error, EngineUnavailable):
            raise
        raise EngineUnavailable(str(error)) from error
    except BaseException:
        await copy.close()
        await transport.close()
        raise
    objects = Objects(
        KubernetesObjects(cluster, copy, installation=who.installation, target=who.target),
        KubernetesRenderer(who.installation, who.target, settings, routing),
        KubernetesForeign(cluster, installation=who.installation, target=who.target),
        who.installation,
        who.target,
    )
    ports = Engine(
        replicas=PodReplicas(copy),
        images=images or NodeImages(),
        grounds=ObjectGrounds(objects),
        events=ObjectNews(copy.watch, copy.owners),
        io=PodIO(transport, copy),
        foreign=NobodyElse(who.target),
    )
    return KubernetesEngine(transport, copy, ports, objects)
