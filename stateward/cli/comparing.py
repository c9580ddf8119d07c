"""Two manifests or objects compared, line by line as YAML. Values of secrets are never in them."""

from collections.abc import Mapping
from difflib import unified_diff
from typing import Any

from stateward.cli.screen import as_yaml

type Line = tuple[str, str]
"""A line of a comparison and its style."""


def difference(
    resource: str, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> list[Line]:
    """What would change of a resource, as a unified diff; no line when nothing would."""
    old, new = _lines(before), _lines(after)
    name_before = f"{resource} (present)" if before else "(absent)"
    name_after = f"{resource} (applied)" if after else "(deleted)"
    return [
        (line, _style(line))
        for line in unified_diff(old, new, name_before, name_after, n=3, lineterm="")
    ]


def object_difference(change: Mapping[str, Any]) -> list[Line]:
    """What would change of one object on a cluster, as `kubectl diff` shows it."""
    name, before, after = change["object"], change.get("before"), change.get("after")
    name += f" on {change['target']}" if change.get("target") else ""
    said: list[Line] = []
    if change["because"] == "immutable":
        fields = ", ".join(change["fields"])
        said.append((f"{name} is made anew: {fields} cannot be changed", "bold"))
    elif change["because"] == "adopted" and after is None:
        said.append((f"{name} ends once what takes its place is ready", "bold"))
    elif after is None:
        said.append((f"{name} is deleted once all that is wanted is there", "bold"))
    else:
        old, new = ([] if one is None else as_yaml(one).splitlines() for one in (before, after))
        head = f"{name} (on the cluster)" if before else "(absent)"
        found = unified_diff(old, new, head, f"{name} (applied)", n=3, lineterm="")
        said += [(line, _style(line)) for line in found]
    if change.get("refused"):
        said.append((f"the cluster would refuse {name}: {change['refused']}", "red"))
    return said


def _lines(manifest: Mapping[str, Any] | None) -> list[str]:
    return as_yaml(_shown(manifest)).splitlines() if manifest else []


def _shown(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest without what every change changes, and a Secret's keys without values."""
    metadata = {
        name: value
        for name, value in (manifest.get("metadata") or {}).items()
        if name not in ("generation", "uid", "revision", "deleting")
    }
    shown = {**manifest, "metadata": metadata}
    shown.pop("status", None)
    spec = manifest.get("spec") or {}
    if manifest.get("kind") == "Secret":
        keys = spec.get("keys") or spec.get("data") or ()
        shown["spec"] = {"data": dict.fromkeys(keys, "***"), "version": spec.get("version")}
    return shown


def _style(line: str) -> str:
    if line.startswith(("---", "+++")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")
