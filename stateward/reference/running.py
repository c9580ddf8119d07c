"""What who runs it reads: the pages of metrics and of settings."""

from collections.abc import Iterator
from typing import Final, get_type_hints

from prometheus_client import CollectorRegistry
from prometheus_client.registry import Collector
from pydantic import BaseModel

from domain import quantities
from stateward.cli import contexts
from stateward.environment import PREFIX, SYSTEM_CONFIG, SYSTEM_DATA
from stateward.gauges import ABOUT
from stateward.metrics import Metrics
from stateward.reference.markdown import code, page, sentence, table
from stateward.reference.types import default, limits, typed
from stateward.settings import SECTIONS, File, Seconds, Secret

NAMED: Final = ((Seconds, "duration"), (File, "path"), (Secret, "secret text"))


def registry() -> CollectorRegistry:
    """A registry that holds every metric of a control plane."""
    metrics = Metrics()
    metrics.observe(lambda: {name: (text, 0.0) for name, text in ABOUT.items()})
    return metrics.registry


def names() -> frozenset[str]:
    """Every name that a query may use."""
    return frozenset(name for _, metric, _ in _metrics() for name in _series(*metric))


def metrics() -> str:
    """Every metric: name, type, labels, words."""
    rows = [
        (code(_shown(name, kind)), kind, ", ".join(map(code, labels)), text)
        for text, (name, kind), labels in _metrics()
    ]
    return page(
        "Metrics",
        "`GET /metrics` in the text format of Prometheus. Labels are bounded: never an app, never "
        "a user; of hosts, only when their certificates end. Histograms have `_bucket`, `_sum` and "
        "`_count`.",
        table(("name", "type", "labels", "what"), sorted(rows)),
    )


def _metrics() -> Iterator[tuple[str, tuple[str, str], tuple[str, ...]]]:
    """(words, (name, type), labels) of each."""
    found = registry()
    collectors: set[Collector] = set(found._names_to_collectors.values())  # noqa: SLF001 -- no public way
    labels = {
        family.name: tuple(getattr(one, "_labelnames", ()))
        for one in collectors
        for family in one.collect()
    }
    for family in found.collect():
        yield family.documentation, (family.name, family.type), labels.get(family.name, ())


def _shown(name: str, kind: str) -> str:
    return f"{name}_total" if kind == "counter" else name


def _series(name: str, kind: str) -> list[str]:
    if kind == "histogram":
        return [f"{name}_bucket", f"{name}_sum", f"{name}_count"]
    return [_shown(name, kind)]


def settings() -> str:
    """Every setting of the control plane, and how the client is told where to go."""
    return page(
        "Settings",
        "A flag of `stateward serve` wins over the environment, that over the configuration file, "
        "that over the default. `--set SECTION.FIELD=VALUE` gives any of them as a flag.",
        f"- In the environment: {code(PREFIX + 'SECTION__FIELD')}, as in "
        f"{code(PREFIX + 'REPLAY__INTERVAL=30s')}.\n"
        "- The file, YAML with a section on each top line: `--config FILE`, else "
        f"`$XDG_CONFIG_HOME/stateward/config.yaml` (`~/.config`), else {code(str(SYSTEM_CONFIG))}."
        "\n- Unknown sections and fields are refused by file, line and nearest name.\n"
        f"- `data.directory` is by default {code(str(SYSTEM_DATA))} for root, else "
        "`$XDG_STATE_HOME/stateward` (`~/.local/state`).",
        *(_section(name, model) for name, model in SECTIONS.items()),
        "## The client",
        f"`--context`, `--server`; {code(PREFIX + 'SERVER')}, {code(PREFIX + 'TOKEN')}, "
        f"{code(PREFIX + 'PROJECT')}; then the context that `stateward context use` chose, kept in "
        f"`$XDG_CONFIG_HOME/stateward/client.yaml`; else {code(contexts.LOCAL_SERVER)}.",
    )


def _section(name: str, model: type[BaseModel]) -> str:
    rows = list(_fields(name, model))
    heads = ("setting", "type", "default", "limits")
    return "\n\n".join(filter(None, (f"## {name}", sentence(model), table(heads, rows))))


def _fields(section: str, model: type[BaseModel]) -> Iterator[tuple[str, ...]]:
    described = model.model_json_schema()["properties"]
    hints = get_type_hints(model, include_extras=True)
    for name, field in model.model_fields.items():
        kind = typed(hints[name], NAMED)
        seconds = kind == "*duration*"
        preset = "" if field.is_required() else default(field.default)
        yield (
            code(f"{section}.{name}"),
            kind,
            code(quantities.duration(f"{field.default}s")) if seconds else preset,
            limits(described[name], kind),
        )
