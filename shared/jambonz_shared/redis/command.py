"""Commands as Redis reads them: arrays of bulk strings. Pure. Source: Redis serialization protocol, RESP2.

``hiredis.pack_command`` prints each length by ``sprintf``, which was a seventh of a worker's CPU per event
(docs/benchmarks/2026-11-21-hot-path.md).
"""

from collections.abc import Sequence
from typing import Final, TypeAlias

# What a command is made of; text goes as UTF-8.
Argument: TypeAlias = bytes | str | int | float

_HEAD: Final = b"\r\n$%d\r\n"
# Heads of arguments by their length: nearly all are that short.
_HEADS: Final = [_HEAD % length for length in range(2048)]
# Whole numbers with their heads: counts, epochs, fences and the numbers of events are nearly all that small.
_NUMBERS: Final = [b"\r\n$%d\r\n%d" % (len(str(number)), number) for number in range(2048)]


def pack_command(args: Sequence[Argument]) -> bytes:
    """Return a command as bytes.

    Raises:
        TypeError: If an argument is none of bytes, str, int, float.
    """
    parts = [b"*%d" % len(args)]
    _add(parts, args)
    parts.append(b"\r\n")
    return b"".join(parts)


def pack_script(sha: bytes, keys: Sequence[Argument], args: Sequence[Argument]) -> bytes:
    """Return the command that runs the script whose SHA-1 has these 40 hex digits; otherwise as ``pack_command``."""
    count = 3 + len(keys) + len(args)
    parts = [b"*%d\r\n$7\r\nEVALSHA\r\n$40\r\n%b%b" % (count, sha, _NUMBERS[len(keys)])]
    _add(parts, keys)
    _add(parts, args)
    parts.append(b"\r\n")
    return b"".join(parts)


def _add(parts: list[bytes], args: Sequence[Argument]) -> None:
    for arg in args:
        if isinstance(arg, int) and not isinstance(arg, bool) and 0 <= arg < 2048:
            parts.append(_NUMBERS[arg])
            continue
        raw = arg if isinstance(arg, bytes) else (arg if isinstance(arg, str) else _number(arg)).encode()
        length = len(raw)
        parts.append(_HEADS[length] if length < 2048 else _HEAD % length)
        parts.append(raw)


def _number(arg: object) -> str:
    # True would be sent as a word.
    if isinstance(arg, int) and not isinstance(arg, bool):
        return str(arg)
    if isinstance(arg, float):
        return str(arg)
    raise TypeError(f"expected an argument of bytes, str, int or float, got {type(arg).__name__}")
