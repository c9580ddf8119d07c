"""Seeded bugs of URLs between routers and clusters: patches, for the table of `mutants`.

Each is what a tired person might leave out: a wait before a signal, a look at who has a URL.
"""

from typing import Any
from unittest.mock import patch

from adapters.k8s.render import pods
from adapters.k8s.routes import gateway
from domain.rules import claiming
from projections.desired import DesiredApp

type Patched = Any


def signalled_at_once() -> Patched:
    """A pod gets its signal when its end is asked for."""
    return patch.object(pods, "_leaving", lambda _order: 0)


def followed_at_once() -> Patched:
    """The URLs of an app that moves are where it shall be, whoever is there already."""
    return patch.object(DesiredApp, "reached_at", property(lambda app: app.target))


def claims_not_looked_at() -> Patched:
    """Whoever asks for a URL gets it."""
    return patch.object(claiming, "_check", lambda *_about: None)


def longer_paths_forgotten() -> Patched:
    """A context on a cluster asks for its own path alone, where longer ones come first."""
    return patch.object(gateway, "longer_below", lambda row, _table: (row.path,))
