"""What every command is handed: the server to speak to, the screen, the clock.

Made once per command line. The connection is read, and httpx imported, only when first used, so
that `--help` and the commands that work offline start fast.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import typer

from domain.names import KINDS_WITHOUT_PROJECT, Ref
from stateward.cli import contexts
from stateward.cli.resources import Named, collection, parse
from stateward.cli.screen import Screen
from stateward.cli.trouble import BadUse
from stateward.environment import Environment, of_process

if TYPE_CHECKING:
    from stateward.cli.http import Api


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 -- the outermost edge: where a clock comes from


class Session:
    """One command line.

    Args:
        environment: of the process.
        context: the name of a context; empty for the current one.
        server: an address that wins over the context's.
        now: aware UTC time.
    """

    def __init__(
        self,
        environment: Environment,
        *,
        context: str = "",
        server: str = "",
        now: Callable[[], datetime] = _now,
    ) -> None:
        self.environment = environment
        self.now = now
        self._context = context
        self._server = server

    @cached_property
    def screen(self) -> Screen:
        no_colour = self.environment.get("NO_COLOR") is not None
        return Screen(no_colour=no_colour or self.environment.get("TERM") == "dumb")

    @cached_property
    def connection(self) -> contexts.Connection:
        return contexts.connection(self.environment, context=self._context, server=self._server)

    @cached_property
    def api(self) -> "Api":
        from stateward.cli.http import Api  # noqa: PLC0415 -- a third of the start time

        return Api(self.connection)

    def close(self) -> None:
        """Let go of the connection, if one was made."""
        if "api" in self.__dict__:
            self.api.close()

    def project(self, given: str = "", *, needed_for: str = "") -> str:
        """The project that is meant: the flag, else the configured one, else none.

        Raises:
            BadUse: there is none, and `needed_for` needs one.
        """
        project = given or self.connection.project
        if not project and needed_for:
            raise BadUse(
                f"{needed_for} belongs to a project; name it by -n PROJECT, STATEWARD_PROJECT "
                "or `stateward context set NAME --project PROJECT`"
            )
        return project

    def ref(self, named: Named, project: str = "") -> Ref:
        """The resource that was named.

        Raises:
            BadUse: it belongs to a project, and none is known.
        """
        if named.kind in KINDS_WITHOUT_PROJECT:
            return Ref(named.kind, "", named.name)
        shown = f"{named.kind.lower()}/{named.name}"
        owner = named.project or self.project(project, needed_for=shown)
        return Ref(named.kind, owner, named.name)

    def one(self, words: Sequence[str], project: str = "", *, kind: str = "App") -> Ref:
        """The one resource that the words name.

        Raises:
            BadUse: they name none, several, or one of another kind.
        """
        found = parse(words, kinds=(kind,), default=kind)
        if len(found) != 1 or not found[0].name:
            raise BadUse(f"name one {kind.lower()}, such as {kind.lower()}/web")
        return self.ref(found[0], project)

    def chosen(
        self,
        words: Sequence[str],
        *,
        project: str = "",
        selector: str = "",
        everywhere: bool = False,
        kinds: Sequence[str] = ("App",),
        as_of: str = "",
    ) -> list[Ref]:
        """The resources that the words, or a selector, choose; now, or at an earlier moment.

        Raises:
            BadUse: all of a kind are named, but no selector says that this is meant.
        """
        default = kinds[0] if len(kinds) == 1 else ""
        words = words or ([default.lower()] if default and (selector or everywhere) else [])
        refs: list[Ref] = []
        for named in parse(words, kinds=kinds, default=default):
            if named.name:
                refs.append(self.ref(named, project))
            elif selector or everywhere:
                owner = self._owner(named.kind, project, everywhere=everywhere)
                refs += [ref_of(item) for item in self.items(named.kind, owner, selector, as_of)]
            else:
                raise BadUse(f"name the {named.kind.lower()}, or choose several by -l or -A")
        return refs

    def _owner(self, kind: str, project: str, *, everywhere: bool) -> str:
        """The project to choose from; choosing from all of them has to be said."""
        if everywhere or kind in KINDS_WITHOUT_PROJECT:
            return ""
        return self.project(project, needed_for=f"a selection of {kind.lower()}s without -A")

    def items(
        self, kind: str, project: str = "", selector: str = "", as_of: str = ""
    ) -> Iterator[dict[str, Any]]:
        """All resources of a kind, of one project or of all."""
        query = {"labelSelector": selector, "asOf": as_of}
        for page in self.api.pages(collection(kind, project), query):
            yield from page["items"]


def ref_of(resource: dict[str, Any]) -> Ref:
    """The name of a resource as the API writes it."""
    metadata = resource["metadata"]
    return Ref(resource["kind"], metadata.get("project") or "", metadata["name"])


def session(context: typer.Context) -> Session:
    """The session of a command."""
    root = context.find_root()
    if not isinstance(root.obj, Session):
        root.obj = Session(of_process())
    return root.obj
