"""Certificates of Secrets that an app's routes show, for clusters, which get them as objects."""

from collections.abc import Mapping

from bus.secrets import SecretStore
from domain.names import Ref
from domain.route import secrets_of
from projections.desired import DesiredApp, DesiredState
from reconcilers.object_ports import SecretValues


async def certificates(
    app: DesiredApp, desired: DesiredState, store: SecretStore
) -> Mapping[str, SecretValues]:
    """The present values of the Secrets, by their streams: routes are in no revision.

    Raises:
        SecretUnavailable: values are not in the store.
    """
    found: dict[str, SecretValues] = {}
    for name in sorted(secrets_of(app.spec.routes)):
        ref = Ref("Secret", app.ref.project, name)
        token = desired.token(ref.stream)
        if token is not None:
            found[ref.stream] = SecretValues(token, await store.get(ref, token))
    return found
