"""The settings of the bus, as the bus takes them."""

from pathlib import Path

from bus.nats.credentials import Credentials
from bus.nats.settings import NatsSettings
from bus.nats.tls import Tls
from stateward.settings import Nats


def nats_settings(settings: Nats, data: Path, instance: str) -> NatsSettings:
    """Those of a bus that is enabled.

    Args:
        settings: as they were given.
        data: the data directory.
        instance: names this process among those that share the NATS.
    """
    if settings.starts_server:
        return NatsSettings(directory=data / "nats", instance=instance)
    return NatsSettings(
        servers=settings.servers,
        credentials=Credentials(
            user=settings.user or "",
            password=settings.password.reveal() if settings.password else "",
            token=settings.token.reveal() if settings.token else "",
            creds_file=settings.credentials_file,
            nkey_seed_file=settings.nkey_file,
        ),
        tls=Tls(ca=settings.tls_ca, certificate=settings.tls_certificate, key=settings.tls_key),
        replicas=settings.replicas,
        instance=instance,
    )
