"""Call state: the application's own fields of one call, seen as a mapping. Pure.

Redis holds one JSON text per field. Fields are decoded when first read; at a commit each field that was
touched is encoded again and compared with what Redis holds, so a change deep inside a list is seen too.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, Final

import orjson

from jambonz_shared.wire import trimmed

# Only what comes back equal is taken: dataclasses, dates and subclasses would come back as plain dicts or text.
_OPTIONS: Final = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS

RESERVED: Final = "@"
"""Fields whose names begin so are the cluster's own: saved like all others, never seen by applications."""

StateChanges = list[tuple[str, bytes]]
"""Field names with their new JSON; empty bytes delete the field."""


class CallState(MutableMapping[str, Any]):
    """The fields an application keeps for one call; values are what JSON can hold.

    Changes are saved together with the ack and the commands of the handler that made them, and
    forgotten when it raises.
    """

    __slots__ = ("_stored", "_values")

    def __init__(self, stored: Mapping[str, bytes] | None = None) -> None:
        self._stored: dict[str, bytes] = dict(stored or {})
        # A deleted field is kept here as _DELETED until it is committed.
        self._values: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self:
            raise KeyError(name)
        return self.own(name)

    def own(self, name: str) -> Any:
        """Return a field, also one of those that applications do not see; None if it is not there."""
        if name in self._values:
            value = self._values[name]
            return None if value is _DELETED else value
        if name not in self._stored:
            return None
        value = self._values[name] = orjson.loads(self._stored[name])
        return value

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a field.

        Raises:
            TypeError: If the name is no text, JSON cannot hold the value, or would give back another one: a list for a
                tuple, text for a UUID or a member of an Enum.
            ValueError: If the name is reserved.
        """
        if not isinstance(name, str) or not name:
            raise TypeError(f"call.state: expected a field name of at least one character, got {name!r}")
        if name.startswith(RESERVED):
            raise ValueError(f"call.state[{name!r}]: names that begin with {RESERVED!r} are the cluster's own")
        back = orjson.loads(_encode(name, value))
        # By their text, too: a member of a StrEnum is equal to its value.
        if back != value or repr(back) != repr(value):
            # It would be what it is until the worker dies, and something else from then on.
            raise TypeError(f"call.state[{name!r}]: JSON does not give back what it was given, {type(value).__name__}")
        self._values[name] = value

    def set_own(self, name: str, value: Any) -> None:
        """Set a field that applications do not see; None deletes it.

        Raises:
            TypeError: If JSON cannot hold the value.
        """
        if value is None:
            self._values[name] = _DELETED
            return
        _encode(name, value)
        self._values[name] = value

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._values[name] = _DELETED

    def __contains__(self, name: object) -> bool:
        if isinstance(name, str) and name.startswith(RESERVED):
            return False
        if name in self._values:
            return self._values[name] is not _DELETED
        return name in self._stored

    def __iter__(self) -> Iterator[str]:
        names = dict.fromkeys((*self._stored, *self._values))
        return iter([name for name in names if name in self])

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"CallState({sorted(self)!r})"

    def changes(self) -> StateChanges:
        """Return the fields whose JSON differs from what is stored.

        Raises:
            TypeError: If JSON cannot hold a value any more, with the field's name.
        """
        changed: StateChanges = []
        if not self._values:
            # With every event.
            return changed
        self._note_changes(self._values, changed)
        return changed

    def own_changes(self) -> StateChanges:
        """Return those of the fields that applications do not see."""
        changed: StateChanges = []
        self._note_changes([name for name in self._values if name.startswith(RESERVED)], changed)
        return changed

    def drop_unsavable(self) -> list[str]:
        """Forget what was put into a list or dict of the state and JSON cannot hold; return what was wrong."""
        wrong: list[str] = []
        for name, value in list(self._values.items()):
            try:
                _ = value is _DELETED or _encode(name, value)
            except TypeError as error:
                del self._values[name]
                wrong.append(str(error))
        return wrong

    def _note_changes(self, names: Iterable[str], changed: StateChanges) -> None:
        for name in names:
            value = self._values[name]
            json = b"" if value is _DELETED else _encode(name, value)
            if json != self._stored.get(name, b""):
                changed.append((name, json))

    def committed(self, changes: StateChanges) -> None:
        """Take ``changes`` as stored."""
        for name, json in changes:
            if json:
                self._stored[name] = trimmed(json)
            else:
                self._stored.pop(name, None)
                if self._values.get(name) is _DELETED:
                    del self._values[name]

    @property
    def stored(self) -> Mapping[str, bytes]:
        """JSON by name as of the last commit."""
        return self._stored

    def rollback(self) -> None:
        """Forget everything since the last commit."""
        self._values.clear()

    def snapshot(self) -> dict[str, Any]:
        """Return a copy that no later change touches."""
        return {name: orjson.loads(_encode(name, self[name])) for name in self}


def _encode(name: str, value: Any) -> bytes:
    try:
        return orjson.dumps(value, option=_OPTIONS)
    except TypeError as error:
        raise TypeError(f"call.state[{name!r}]: JSON cannot hold it: {error}") from None


_DELETED: Final = object()
