"""Which App a request means, may its sender look into it, and which of its replicas are meant."""

from collections.abc import Sequence

from starlette.requests import HTTPConnection

from domain.access import authorise
from domain.names import Ref
from domain.refusals import BadValue, NotFound, NotPossible
from gateway.asking import Freshness, actor_of, ref_in
from gateway.ports import Services
from gateway.views import entry_of
from reconcilers.ports import Replica, ReplicaState


async def known(services: Services, fresh: Freshness, request: HTTPConnection, verb: str) -> Ref:
    """The App that a request names.

    Raises:
        Refusal: there is none, or its sender may not do that.
    """
    ref = ref_in(request, "App")
    authorise(actor_of(request), verb, ref)
    request.state.resource = ref.stream
    await fresh.reached()
    if entry_of(services.desired, ref) is None:
        raise NotFound(ref, "`stateward get apps` lists those that do")
    return ref


def choose(
    services: Services, ref: Ref, replicas: Sequence[Replica], wanted: str, *, previous: bool
) -> Sequence[Replica]:
    """The replicas that are meant; exited ones only when asked, or when no other is there."""
    installation = services.installation
    found = sorted(replicas, key=lambda one: (one.name, one.id))
    if wanted:
        found = [
            one for one in found if wanted in (str(one.name.slot), one.shown(installation), one.id)
        ]
        if not found:
            known = ", ".join(one.shown(installation) for one in replicas) or "none"
            raise BadValue("replica", wanted, f"replicas of {ref} are: {known}")
    running = [one for one in found if one.state is ReplicaState.RUNNING]
    return found if previous or not running else running


def ready_one(
    services: Services, ref: Ref, replicas: Sequence[Replica], wanted: str | None
) -> Replica:
    """The replica to run a command in. Raises: NotPossible, when none runs."""
    chosen = choose(services, ref, replicas, wanted or "", previous=False)
    running = [one for one in chosen if one.state is ReplicaState.RUNNING]
    if not running:
        raise NotPossible(f"{ref} has no running replica to run a command in")
    status = services.status.get(ref.stream)
    ready = {one.name for one in status.replicas if one.ready} if status else set()
    installation = services.installation
    return next((one for one in running if one.shown(installation) in ready), running[0])
