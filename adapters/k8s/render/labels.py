"""The labels that say whose an object is, which set it belongs to, and what selects its pods.

Selectors can never be changed, so they are of two labels that never change for an app. What differs
from revision to revision stands on the workload and its pods alone: an object that says nothing new
is not written again.

Source: KEP-3659 (ApplySet) for `applyset.kubernetes.io/`, and the common labels of Kubernetes.
"""

import base64
import hashlib
from functools import lru_cache
from typing import Final, NamedTuple

from reconcilers.object_labels import APP, INSTALLATION, PROJECT, REVISION, TARGET, UID

SET_ID: Final = "applyset.kubernetes.io/id"
TOOLING: Final = "applyset.kubernetes.io/tooling"
GROUP_KINDS: Final = "applyset.kubernetes.io/contains-group-kinds"

type Labels = dict[str, str]


class Owner(NamedTuple):
    """Whose objects are rendered: one app, or (`app` empty) what a project shares."""

    installation: str
    target: str
    namespace: str
    project: str
    app: str
    uid: int

    @property
    def set_name(self) -> str:
        """The name of the ConfigMap that stands for the set of its objects."""
        return f"{self.app or 'stateward'}--set"

    @property
    def set_id(self) -> str:
        return _set_id(self.namespace, self.set_name)

    @property
    def labels(self) -> Labels:
        """On every object of the owner, whatever it is."""
        ours = {
            "app.kubernetes.io/managed-by": "stateward",
            "app.kubernetes.io/part-of": self.project,
            INSTALLATION: self.installation,
            TARGET: self.target,
            PROJECT: self.project,
            UID: str(self.uid),
        }
        if not self.app:
            return ours
        of_app = {
            "app.kubernetes.io/name": self.app,
            "app.kubernetes.io/instance": f"{self.app}-{self.uid}",
            "app.kubernetes.io/component": "app",
            APP: self.app,
        }
        return ours | of_app

    @property
    def selector(self) -> Labels:
        """What selects the app's pods, of any revision."""
        return {PROJECT: self.project, APP: self.app}

    def of_revision(self, revision: int) -> Labels:
        """On workloads and their pods."""
        return self.labels | {
            "app.kubernetes.io/version": f"r{revision}",
            REVISION: str(revision),
        }


@lru_cache(maxsize=32)  # it stands on every object of an app
def _set_id(namespace: str, name: str) -> str:
    digest = hashlib.sha256(f"{name}.{namespace}.ConfigMap.".encode()).digest()
    return f"applyset-{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}-v1"
