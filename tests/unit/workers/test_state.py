"""Call state: a mapping whose changes are found by comparison."""

import datetime
import tracemalloc
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jambonz_workers.state import CallState


def test_fields_are_decoded_when_read() -> None:
    """Redis holds one JSON text per field."""
    state = CallState({"tries": b"2", "seen": b"[1]"})
    assert state["tries"] == 2
    assert dict(state) == {"tries": 2, "seen": [1]}
    assert len(state) == 2
    assert "tries" in state
    assert "nothing" not in state
    with pytest.raises(KeyError):
        state["nothing"]


def test_reading_changes_nothing() -> None:
    """Only what differs is written back."""
    state = CallState({"seen": b"[1]"})
    state["seen"]
    state["seen"] = [1]
    assert state.changes() == []


def test_a_change_deep_inside_is_seen() -> None:
    """Applications append to lists without setting the field again."""
    state = CallState({"seen": b"[1]", "other": b"1"})
    state["seen"].append(2)
    assert state.changes() == [("seen", b"[1,2]")]


def test_a_committed_change_is_not_written_again() -> None:
    """But later changes of the very same value are."""
    state = CallState()
    seen = state.setdefault("seen", [])
    state.committed(state.changes())
    assert state.changes() == []
    seen.append(1)
    assert state.changes() == [("seen", b"[1]")]


def test_a_deleted_field_is_written_as_empty() -> None:
    """Empty JSON deletes it in Redis."""
    state = CallState({"tries": b"2"})
    del state["tries"]
    assert "tries" not in state
    assert list(state) == []
    with pytest.raises(KeyError):
        state["tries"]
    with pytest.raises(KeyError):
        del state["tries"]
    assert state.changes() == [("tries", b"")]
    state.committed(state.changes())
    assert state.changes() == []


def test_a_field_set_and_deleted_before_a_commit_leaves_nothing() -> None:
    """Redis never had it."""
    state = CallState()
    state["a"] = 1
    del state["a"]
    assert state.changes() == []


def test_a_field_set_again_while_its_deletion_is_committed_stays() -> None:
    """Background work may set it between the commit and the next one."""
    state = CallState({"a": b"1"})
    del state["a"]
    changes = state.changes()
    state["a"] = 2
    state.committed(changes)
    assert state.changes() == [("a", b"2")]


def test_rollback_forgets_what_a_failed_handler_did() -> None:
    """Deep changes too."""
    state = CallState({"seen": b"[1]"})
    state["seen"].append(2)
    state["new"] = 1
    state.rollback()
    assert dict(state) == {"seen": [1]}


def test_a_snapshot_is_a_copy() -> None:
    """Its reader may do with it what he likes."""
    state = CallState({"seen": b"[1]"})
    state.snapshot()["seen"].append(2)
    assert state["seen"] == [1]


@dataclass
class Order:
    number: int


@pytest.mark.parametrize(
    "value",
    [
        pytest.param({1, 2}, id="set"),
        pytest.param(Order(1), id="dataclass"),
        pytest.param(datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), id="datetime"),
        pytest.param({1: "a"}, id="number_as_key"),
    ],
)
def test_a_value_json_cannot_hold_names_its_field(value: Any) -> None:
    """The error comes where the value is set, not at some later commit."""
    state = CallState()
    with pytest.raises(TypeError, match=r"call.state\['order'\]: JSON cannot hold it"):
        state["order"] = value
    assert "order" not in state


class Colour(Enum):
    RED = "red"


class Step(StrEnum):
    MENU = "menu"


@pytest.mark.parametrize(
    "value",
    [(1, 2), {"at": (1, 2)}, UUID(int=7), Colour.RED, [Step.MENU], float("nan")],
    ids=["tuple", "deep", "uuid", "enum", "enum_of_texts", "nan"],
)
def test_a_value_that_would_come_back_as_another_is_refused(value: Any) -> None:
    """It would be itself until the worker dies, and a list, a text or nothing from then on."""
    state = CallState()
    with pytest.raises(TypeError, match=r"call.state\['order'\]: JSON does not give back"):
        state["order"] = value
    assert "order" not in state


def test_what_cannot_be_saved_is_dropped_alone() -> None:
    """Other changes stay."""
    state = CallState({"seen": b"[]", "gone": b"1"})
    state["seen"].append({1})
    state["name"] = "Ada"
    del state["gone"]
    (wrong,) = state.drop_unsavable()
    assert "call.state['seen']: JSON cannot hold it" in wrong
    assert state["seen"] == []
    assert state.changes() == [("name", b'"Ada"'), ("gone", b"")]


def test_a_bad_value_put_in_later_names_its_field() -> None:
    """It is found at the commit."""
    state = CallState({"seen": b"[]"})
    state["seen"].append({1})
    with pytest.raises(TypeError, match=r"call.state\['seen'\]"):
        state.changes()


@pytest.mark.parametrize("name", ["", 7], ids=["empty", "number"])
def test_a_field_needs_a_name(name: Any) -> None:
    """It becomes part of a hash field."""
    with pytest.raises(TypeError, match="expected a field name"):
        CallState()[name] = 1


def test_a_state_shows_its_names_only() -> None:
    """Values may be a caller's data, which belongs in no log."""
    assert repr(CallState({"pin": b'"1234"'})) == "CallState(['pin'])"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.text(min_size=1, max_size=3).filter(lambda name: not name.startswith("@")), json_values, max_size=4
    )
)
def test_what_was_committed_is_read_again(values: dict[str, Any]) -> None:
    """Through Redis and back, on any worker."""
    state = CallState()
    state.update(values)
    again = CallState({name: json for name, json in state.changes() if json})
    assert dict(again) == values


def test_stored_fields_are_those_of_the_last_commit() -> None:
    """A worker restores a call in a Redis that lost it with what is committed, not with what a handler tries."""
    state = CallState({"tries": b"1"})
    state["tries"] = 2
    assert dict(state.stored) == {"tries": b"1"}
    state.committed(state.changes())
    assert dict(state.stored) == {"tries": b"2"}


def test_stored_fields_take_no_more_than_their_bytes() -> None:
    """A worker holds them for each call; orjson's own buffers would be 4 kB for a number, 130 kB for a long talk."""
    tracemalloc.start()
    try:
        state = CallState()
        state["talk"] = "x" * 9000
        state["tries"] = 1
        state.committed(state.changes())
        state.rollback()
        size_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size_bytes < 12_000
