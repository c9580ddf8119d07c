"""What left a set: it carries the set's labels, is in one of its projects, and is not in it."""

from collections.abc import Sequence

from bus.intents import Asked
from domain.intents import Delete
from domain.names import Ref
from domain.refusals import BadValue
from gateway import labels
from gateway.asking import Freshness
from gateway.ports import Services


async def leftovers(
    services: Services, fresh: Freshness, selector: str, asked: Sequence[Asked]
) -> list[Asked]:
    """Deletes of what left the set: apps first, for they may use the secrets.

    Raises:
        BadValue: the selector is empty or none.
    """
    if not selector.strip():
        rule = "name the labels of the set, as in set=x; without any, everything would match"
        raise BadValue("query.prune", selector, rule)
    belongs = labels.parse(selector, "query.prune")
    await fresh.reached((await services.log.head()).position)
    kept = {item.ref for item in asked}
    projects = {ref.name if ref.kind == "Project" else ref.project for ref in kept} - {""}
    gone: list[Asked] = []
    for kind in ("App", "Secret"):
        for stream in sorted(services.desired.streams(kind)):
            ref = Ref.parse(stream)
            if ref in kept or ref.project not in projects:
                continue
            found = services.desired.resource(stream)
            if found is not None and belongs(found.labels):
                gone.append(Delete(ref=ref))
    return gone
