"""A Secret with a certificate as an object that routers of a cluster read; pure.

It never changes: it is named after its values, so new ones are another object.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from adapters.files import pem
from adapters.k8s.render.labels import Owner
from adapters.k8s.render.manifests import content_hash
from adapters.k8s.render.variables import secret
from adapters.k8s.routes.asked import Asked
from domain.route import CERTIFICATE_KEYS
from projections.route_table import Row
from reconcilers.object_ports import Manifest, SecretValues, Stage

_TYPE: Final = "kubernetes.io/tls"


def lacks_certificate(row: Row, asked: Asked) -> str:
    """Why a row's own certificate cannot be shown; empty if it can, or if there is to be none."""
    if row.tls is None or row.tls.mode != "secret":
        return ""
    held = asked.certificates.get(row.tls.secret)
    if held is None or any(key not in held.values for key in CERTIFICATE_KEYS):
        return f"{row.tls.secret} has no certificate: none can be read in it now; set it"
    chain, key = (held.values[key].reveal().encode() for key in CERTIFICATE_KEYS)
    fault = pem.fault(chain, key, [row.host])
    return f"{row.tls.secret} has no certificate: {fault}" if fault else ""


def name_of_certificate(row: Row, asked: Asked) -> str:
    """The name of the object that a row's own certificate is in."""
    assert row.tls is not None, "only a row with TLS has a certificate"
    return _name(asked.owner, row.tls.secret, asked.certificates[row.tls.secret])


def certificates(rows: Iterable[Row], asked: Asked) -> Iterator[Manifest]:
    """The objects for rows that show their own, each once."""
    used = {row.tls.secret for row in rows if row.tls is not None and row.tls.mode == "secret"}
    for stream in sorted(used):
        held = asked.certificates[stream]
        content = {key: held.values[key] for key in CERTIFICATE_KEYS}
        made = secret(asked.owner, _name(asked.owner, stream, held), _TYPE, content)
        yield msgspec.structs.replace(made, stage=Stage.ROUTE)  # refused, it stops no app


def _name(owner: Owner, stream: str, held: SecretValues) -> str:
    return f"{owner.app}--tls-{content_hash([stream, held.token])}"
