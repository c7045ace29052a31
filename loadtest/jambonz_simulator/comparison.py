"""Two JSON values side by side: where they differ, in words. Pure."""

from typing import Any


def differences(expected: Any, actual: Any, where: str = "") -> list[str]:
    """Give one line per difference, ``data[0].text: expected 'a', got 'b'``; keys in any order.

    Numbers are equal by value, so ``1`` is ``1.0``; true is not 1.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        lines = []
        for key in [*expected, *(key for key in actual if key not in expected)]:
            place = f"{where}.{key}" if where else str(key)
            if key not in actual:
                lines.append(f"{place}: expected {_short(expected[key])}, missing")
            elif key not in expected:
                lines.append(f"{place}: not expected, got {_short(actual[key])}")
            else:
                lines += differences(expected[key], actual[key], place)
        return lines
    if isinstance(expected, list) and isinstance(actual, list):
        lines = []
        for number, (one, other) in enumerate(zip(expected, actual, strict=False)):
            lines += differences(one, other, f"{where}[{number}]")
        if len(expected) != len(actual):
            lines.append(f"{where or 'list'}: expected {len(expected)} items, got {len(actual)}")
        return lines
    if expected == actual and isinstance(expected, bool) == isinstance(actual, bool):
        return []
    return [f"{where or 'value'}: expected {_short(expected)}, got {_short(actual)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
