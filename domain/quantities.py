"""Durations (`1m30s`) and quantities (`256Mi`, `500m`), as Kubernetes writes them.

Specs keep them as text in one canonical form, so that equal specs are equal bytes; `seconds`,
`cpu_millis` and `memory_bytes` read them.
"""

import re
from functools import lru_cache

_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?(?:(\d+)ms)?")
_MEMORY_UNITS = {
    "": 1,
    "k": 10**3,
    "M": 10**6,
    "G": 10**9,
    "T": 10**12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)(k|M|G|T|Ki|Mi|Gi|Ti|m)?")
_CPU = re.compile(r"(\d+(?:\.\d{1,3})?)(m)?")


@lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """The seconds of a duration: `1m30s` is 90.0.

    Raises:
        ValueError: it is not a duration.
    """
    match = _DURATION.fullmatch(text)
    if not text or match is None:
        raise ValueError("a duration is a number with its unit: 10s, 1m30s, 2h, 500ms")
    hours, minutes, secs, millis = match.groups()
    return (
        int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(secs or 0) + int(millis or 0) / 1000
    )


@lru_cache(maxsize=4096)
def duration(text: str) -> str:
    """The canonical text of a duration: `90s` and `1m30s` are both `1m30s`.

    Raises:
        ValueError: it is not a duration.
    """
    millis = round(seconds(text) * 1000)
    parts = []
    for size, unit in ((3_600_000, "h"), (60_000, "m"), (1000, "s"), (1, "ms")):
        count, millis = divmod(millis, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def cpu_millis(text: str) -> int:
    """Thousandths of a core: `500m` and `0.5` are 500.

    Raises:
        ValueError: it is not an amount of CPU.
    """
    match = _CPU.fullmatch(text)
    if match is None:
        raise ValueError("CPU is in cores or thousandths of one: 0.5, 500m, 2")
    number, milli = match.groups()
    if milli and "." in number:
        raise ValueError("thousandths of a core are whole: 500m")
    return int(number) if milli else round(float(number) * 1000)


def cpu(text: str | float) -> str:
    """The canonical text of an amount of CPU: `0.5`, 0.5 and `500m` are all `500m`.

    Raises:
        ValueError: it is not an amount of CPU, or none at all.
    """
    millis = cpu_millis(f"{text:g}" if isinstance(text, float) else str(text))
    if millis == 0:
        raise ValueError("no CPU at all; leave the field out for no limit")
    return str(millis // 1000) if millis % 1000 == 0 else f"{millis}m"


def memory_bytes(text: str) -> int:
    """Bytes: `256Mi` is 268435456.

    Raises:
        ValueError: it is not an amount of memory.
    """
    match = _MEMORY.fullmatch(text)
    if match is None:
        raise ValueError("memory is a number with its unit: 256Mi, 1Gi, 500M")
    number, unit = match.groups()
    if unit == "m":
        raise ValueError(f"{text} is a fraction of one byte; mean {number}Mi?")
    return int(float(number) * _MEMORY_UNITS[unit or ""])


def memory(text: str | int) -> str:
    """The canonical text of an amount of memory: `0.5Gi` and `512Mi` are both `512Mi`.

    Raises:
        ValueError: it is not an amount of memory, or less than 4 MiB can hold.
    """
    size = memory_bytes(str(text))
    if size < 4 * 2**20:
        raise ValueError(f"{text} is less than the 4Mi that any process needs; forgot the unit?")
    for unit in ("Ti", "Gi", "Mi", "Ki"):
        if size % _MEMORY_UNITS[unit] == 0:
            return f"{size // _MEMORY_UNITS[unit]}{unit}"
    return str(size)
