"""Quantities in the form that an API server gives back: `0.1` is `100m`, `1024Mi` is `1Gi`."""

import re
from fractions import Fraction

_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 1000),
    "": Fraction(1),
    "k": Fraction(10**3),
    "M": Fraction(10**6),
    "G": Fraction(10**9),
    "T": Fraction(10**12),
    "P": Fraction(10**15),
    "E": Fraction(10**18),
}
_WRITTEN = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|([KMGTPE]i|[numkMGTPE])?)")


def value_of(written: str) -> Fraction:
    """What a quantity is as a number.

    Raises:
        ValueError: it is none.
    """
    found = _WRITTEN.fullmatch(written)
    if found is None:
        raise ValueError(
            "quantities must match the regular expression "
            "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    number, exponent, suffix = found.groups()
    if exponent:
        return Fraction(number) * Fraction(f"1{exponent}")
    if suffix in _BINARY:
        return Fraction(number) * int(1024 ** _BINARY.index(suffix))
    return Fraction(number) * _DECIMAL[suffix or ""]


def canonical(written: str) -> str:
    """A quantity as the server stores it. Raises like `value_of`."""
    value = value_of(written)
    if written.endswith("i") and value.denominator == 1:
        power = 0
        while value and value % 1024 == 0 and power < len(_BINARY) - 1:
            value, power = value / 1024, power + 1
        return f"{value}{_BINARY[power]}"
    suffix = "n"
    for name, size in _DECIMAL.items():
        if (value / size).denominator == 1:
            suffix = name
    if not value:
        return "0"
    return f"{value / _DECIMAL[suffix]}{suffix}"
