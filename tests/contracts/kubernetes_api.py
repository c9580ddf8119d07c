"""What a Kubernetes API does, as far as Stateward relies on it. Subclass, provide `place`, inherit.

A real server passes; so must the one in `tests.support.kubernetes.server`, which the tests of the
adapter run against. They are not to know the difference.
"""

from tests.contracts.kubernetes_apply import ApplyContract
from tests.contracts.kubernetes_checks import ChecksContract
from tests.contracts.kubernetes_custom import CustomContract
from tests.contracts.kubernetes_errors import ErrorsContract
from tests.contracts.kubernetes_lists import ListsContract
from tests.contracts.kubernetes_parts import DeletesContract, SubresourcesContract
from tests.contracts.kubernetes_updates import UpdatesContract
from tests.contracts.kubernetes_watches import WatchesContract


class KubernetesContract(
    ErrorsContract,
    UpdatesContract,
    ApplyContract,
    ChecksContract,
    ListsContract,
    WatchesContract,
    SubresourcesContract,
    DeletesContract,
    CustomContract,
):
    """Provide `place`: an (async) fixture that yields a fresh `Place`."""
