"""Certificates of Secrets that an app's routes show, for clusters, which get them as objects."""

from collections.abc import Mapping

from bus.secrets import SecretStore
from domain.names import Ref
from projections.route_table import Reach
from reconcilers.object_ports import SecretValues


async def certificates(reach: Reach, store: SecretStore) -> Mapping[str, SecretValues]:
    """The present values of the Secrets, by their streams: routes are in no revision.

    Raises:
        SecretUnavailable: values are not in the store.
    """
    return {
        stream: SecretValues(token, await store.get(Ref.parse(stream), token))
        for stream, token in reach.tokens
    }
