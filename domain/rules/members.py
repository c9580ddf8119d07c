"""What happens to the members of something that goes."""

from collections.abc import Sequence

from domain import events as e
from domain import intents as i
from domain import names
from domain.events import Fact
from domain.names import Ref, members_stream
from domain.rules import apps
from domain.rules.context import Context, Moment


def delete_all(
    context: Context, members: Sequence[str], intent: i.Delete, at: Moment
) -> tuple[Fact, ...]:
    """Delete the members, apps first, so that no Secret goes while an app uses it."""
    facts: list[Fact] = []
    for member in sorted(members, key=lambda stream: (not stream.startswith("App/"), stream)):
        ref = Ref.parse(member)
        if ref.kind == "App":
            present = context.app(ref)
            if not present.exists:  # members were read at another moment: what is decided by them
                continue  # does not fit the log, so it is decided again
            facts += apps.delete(ref, present, at, volumes=intent.volumes, orphan=intent.orphan)
        else:
            version = context.secret(ref).version
            facts.append(Fact(ref.stream, e.SecretDeleted(**at.stamp, version=version)))
            left = e.MemberLeft(**at.stamp, member=member)
            facts.append(Fact(members_stream(names.project(ref.project)), left))
    return tuple(facts)
