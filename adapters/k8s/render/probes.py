"""Checks of an app as probes of its container."""

from collections.abc import Mapping
from typing import Any, Final

from adapters.k8s.render.manifests import given
from adapters.k8s.render.quantities import seconds
from domain.app import AppSpec, Check

_PROBES: Final = {
    "startup": "startupProbe",
    "readiness": "readinessProbe",
    "liveness": "livenessProbe",
}


def probes(spec: AppSpec, ports: Mapping[str, str]) -> dict[str, Any]:
    """The probes of a container; `ports` maps names of ports to what the container calls them."""
    return {_PROBES[name]: _probe(check, ports) for name, check in spec.checks.items()}


def literal(text: str) -> str:
    """Text that a kubelet leaves as it is: it would take `$(NAME)` for a variable, `$$` for `$`."""
    return text.replace("$", "$$")


def _probe(check: Check, ports: Mapping[str, str]) -> dict[str, Any]:
    http, tcp, command = check.http, check.tcp, check.exec
    return given(
        httpGet={"path": http.path, "port": ports[http.port], "scheme": "HTTP"} if http else None,
        tcpSocket={"port": ports[tcp.port]} if tcp else None,
        exec={"command": [literal(word) for word in command.argv]} if command else None,
        periodSeconds=seconds(check.interval, least=1),
        timeoutSeconds=seconds(check.timeout, least=1),
        failureThreshold=check.failures,
        successThreshold=check.successes,
    )
