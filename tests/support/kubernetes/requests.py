"""What a request asks for, once path and query are understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.support.kubernetes.answers import Refused, cause
from tests.support.kubernetes.kinds import Kind
from tests.support.kubernetes.store import Place, place_of

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"
APPLY = "application/apply-patch+yaml"
PATCHES = (JSON_PATCH, MERGE, STRATEGIC, APPLY)
_LONGEST_MANAGER = 128  # bytes


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request for objects of a kind. `name` is empty for the whole collection."""

    verb: str  # as RBAC names it
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    query: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    accept: str = ""
    user_agent: str = "unknown"
    body: Any = None
    creates_by_apply: bool = False  # an apply of what is not there yet, which also needs `create`

    @property
    def place(self) -> Place:
        return place_of(self.kind, self.namespace, self.name)

    @property
    def dry(self) -> bool:
        return self.query.get("dryRun", "") == "All"

    @property
    def strict(self) -> bool:
        return self.query.get("fieldValidation") == "Strict"

    @property
    def force(self) -> bool:
        return self.query.get("force") in {"true", "1"}

    @property
    def manager(self) -> str:
        """Who writes.

        Raises:
            Refused: 422, an apply must say so, in at most 128 bytes.
        """
        named = self.query.get("fieldManager", "")
        if not named and self.content_type == APPLY:
            said = "Required value: is required for apply patch"
            raise self._bad_options(cause("FieldValueRequired", "fieldManager", said))
        if len(named.encode()) > _LONGEST_MANAGER:
            said = "Too long: may not be more than 128 bytes"
            raise self._bad_options(cause("FieldValueTooLong", "fieldManager", said))
        return named or self.user_agent.partition("/")[0]

    @property
    def wants_metadata_only(self) -> bool:
        return "as=PartialObjectMetadata" in self.accept

    @property
    def path(self) -> str:
        within = f"/namespaces/{self.namespace}" if self.namespace else ""
        return f"{within}/{self.kind.plural}/{self.name}"

    def _bad_options(self, why: dict[str, str]) -> Refused:
        said = f'PatchOptions.meta.k8s.io "" is invalid: {why["field"]}: {why["message"]}'
        return Refused(422, said, causes=[why])
