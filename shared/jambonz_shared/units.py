"""Durations and sizes as people write them: ``250ms``, ``4s``, ``24KiB``. Pure."""

import re
from typing import Final

DURATION_EXPECTED: Final = "a duration such as 250ms, 4s or 2m"
SIZE_EXPECTED: Final = "a size such as 512B, 24KiB or 1MiB"

# A bare number is taken as seconds or bytes, the unit that programs hand over.
SECONDS_PER_UNIT: Final = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES_PER_UNIT: Final = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "kib": 1024,
    "mb": 1000**2,
    "mib": 1024**2,
    "gb": 1000**3,
    "gib": 1024**3,
}

_QUANTITY: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)", re.ASCII)


def parse_duration_s(value: str | float) -> float:
    """Return a duration in seconds; a number without a unit is seconds.

    Raises:
        ValueError: If the text is no duration or has an unknown unit.
    """
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    number, unit = _split(value, DURATION_EXPECTED)
    factor = SECONDS_PER_UNIT.get(unit.lower())
    if factor is None:
        raise ValueError(f"expected {DURATION_EXPECTED}")
    return number * factor


def parse_size_bytes(value: str | int) -> int:
    """Return a size in bytes; a number without a unit is bytes.

    Raises:
        ValueError: If the text is no size, has an unknown unit, or is no whole number of bytes.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    number, unit = _split(value, SIZE_EXPECTED)
    factor = BYTES_PER_UNIT.get(unit.lower())
    if factor is None or not (number * factor).is_integer():
        raise ValueError(f"expected {SIZE_EXPECTED}")
    return int(number * factor)


def duration_text(seconds: float) -> str:
    """Return the shortest exact spelling of a duration that ``parse_duration_s`` reads back."""
    milliseconds = round(seconds * 1000)
    for unit, per_unit in (("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % per_unit == 0:
            return f"{milliseconds // per_unit}{unit}"
    if milliseconds > 1000:
        return f"{milliseconds // 1000}.{milliseconds % 1000:03d}".rstrip("0") + "s"
    return f"{milliseconds}ms" if milliseconds else "0s"


def size_text(size_bytes: int) -> str:
    """Return the shortest exact spelling of a size that ``parse_size_bytes`` reads back."""
    for unit, per_unit in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
        if size_bytes and size_bytes % per_unit == 0:
            return f"{size_bytes // per_unit}{unit}"
    return f"{size_bytes}B"


def _split(value: object, expected: str) -> tuple[float, str]:
    match = _QUANTITY.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"expected {expected}")
    return float(match[1]), match[2]
