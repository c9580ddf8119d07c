"""How resources are named: `App/shop/web` is the App `web` of project `shop`.

Names are DNS labels of at most 40 letters, digits and dashes, so that they fit into subjects,
host names and container names without escaping. `--` is reserved for generated names.
"""

import re
from functools import lru_cache
from typing import NamedTuple, Self

from domain.refusals import BadValue

KINDS_WITHOUT_PROJECT = frozenset({"Project", "Target"})
KINDS = ("Project", "Target", "Secret", "App")  # the order in which a set of manifests is decided

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?")
_INSTALLATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def check_name(name: str, path: str) -> str:
    """Return `name`.

    Raises:
        BadValue: it does not follow the grammar; `path` says which field it stands in.
    """
    if _NAME.fullmatch(name) is None:
        raise BadValue(
            path,
            name,
            "a name is 1 to 40 lower-case letters, digits and dashes, "
            "starts with a letter and does not end with a dash",
        )
    if "--" in name:
        raise BadValue(path, name, "two dashes in a row are reserved for generated names")
    return name


def is_installation(text: str) -> bool:
    """Whether this is how an installation is named: a UUID in lower case."""
    return _INSTALLATION.fullmatch(text) is not None


class Ref(NamedTuple):
    """Names a resource. `project` is empty for the kinds that have none."""

    kind: str
    project: str
    name: str

    @property
    def stream(self) -> str:
        """The stream of its events, which is also how it is written: `App/shop/web`."""
        kind, project, name = self
        return f"{kind}/{project}/{name}" if project else f"{kind}/{name}"

    def __str__(self) -> str:
        return self.stream

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `App/shop/web`, `Project/shop` or `Target/local`.

        Raises:
            BadValue: it is not the name of a resource.
        """
        return cls(*_parsed(text))


@lru_cache(maxsize=4096)  # every pass and every event names its app
def _parsed(text: str) -> tuple[str, str, str]:
    kind, _, rest = text.partition("/")
    project, _, name = rest.rpartition("/")
    if kind not in KINDS or bool(project) == (kind in KINDS_WITHOUT_PROJECT):
        raise BadValue("resource", text, "write it as App/shop/web, Project/shop, Target/local")
    return kind, project and check_name(project, "project"), check_name(name, "name")


def app(project: str, name: str) -> Ref:
    return Ref("App", project, name)


@lru_cache(maxsize=4096)  # every intent for an app names both
def project(name: str) -> Ref:
    return Ref("Project", "", name)


@lru_cache(maxsize=4096)
def target(name: str) -> Ref:
    return Ref("Target", "", name)


def members_stream(owner: Ref) -> str:
    """The stream of what a project holds or a target runs; written by whoever joins or leaves."""
    return f"{owner.stream}#members"


def status_stream(ref: Ref) -> str:
    """The stream of what reconcilers saw and did for a resource; it never shapes what runs."""
    return f"{ref.stream}#status"
