"""What a handler may return as verbs."""

from typing import Any

import orjson
import pytest
from jambonz_sdk import VerbBuilder, WebhookResponse  # type: ignore[import-untyped]
from jambonz_sdk.components import Synthesizer  # type: ignore[import-untyped]
from jambonz_sdk.verbs import Gather, Say  # type: ignore[import-untyped]

from jambonz_shared.errors import MessageTooBig
from jambonz_shared.wire import MAX_MESSAGE_BYTES, MAX_VERBS_BYTES, redirect_frame
from jambonz_workers.verbs import dump, plain_verbs, verb_arrays, verb_list

SAY = {"verb": "say", "text": "Hi"}


class Builder:
    def to_list(self) -> list[dict[str, str]]:
        return [SAY, SAY]


class Model:
    def to_dict(self) -> dict[str, str]:
        return SAY


@pytest.mark.parametrize(
    ("result", "verbs"),
    [
        pytest.param(None, [], id="none"),
        pytest.param([], [], id="empty_list"),
        pytest.param(SAY, [SAY], id="dict"),
        pytest.param([SAY, SAY], [SAY, SAY], id="list_of_dicts"),
        pytest.param((SAY,), [SAY], id="tuple"),
        pytest.param(iter([SAY]), [SAY], id="iterator"),
        pytest.param(Builder(), [SAY, SAY], id="builder"),
        pytest.param([SAY, Builder()], [SAY, SAY, SAY], id="builder_in_list"),
        pytest.param(Model(), [SAY], id="to_dict"),
        pytest.param(Say(text="Hi"), [SAY], id="sdk_model"),
        pytest.param([Say(text="Hi")], [SAY], id="sdk_models"),
        pytest.param(VerbBuilder().say(text="Hi"), [SAY], id="sdk_builder"),
        pytest.param(WebhookResponse().say(text="Hi"), [SAY], id="sdk_response"),
    ],
)
def test_verbs_are_structural(result: object, verbs: list[dict[str, Any]]) -> None:
    """The official SDK's builders and models work as they are."""
    # A builder of the SDK is empty once it was read, so it is read only once here as in a worker.
    assert verb_list(result) == verbs


def test_sdk_models_go_out_in_jambonz_spelling() -> None:
    """Aliases are camelCase; members that are None are left out, since jambonz refuses null."""
    gather = Gather(input=["digits"], num_digits=1, action_hook="/menu", say={"text": "Hi"})
    (array,) = verb_arrays([gather])
    (verb,) = orjson.loads(array)
    assert verb["numDigits"] == 1
    assert verb["actionHook"] == "/menu"
    assert None not in verb.values()


def test_models_inside_dicts_are_dumped_too() -> None:
    """Applications mix both."""
    verb = {"verb": "say", "text": "Hi", "synthesizer": Synthesizer(vendor="google")}
    (array,) = verb_arrays([verb])
    assert orjson.loads(array) == [{"verb": "say", "text": "Hi", "synthesizer": {"vendor": "google"}}]


@pytest.mark.parametrize(
    ("result", "got"),
    [
        pytest.param("say hi", "str", id="text"),
        pytest.param(7, "int", id="number"),
        pytest.param({}, "an empty dict", id="empty_dict"),
        pytest.param([SAY, "hi"], "str", id="text_in_list"),
        pytest.param([SAY, {}], "an empty dict", id="empty_dict_in_list"),
        pytest.param({"type": "say", "text": "Hi"}, "a dict of 'type', 'text' without the name", id="no_name"),
        pytest.param(
            [{"type": "say", "text": "Hi"}], "a dict of 'type', 'text' without the name", id="no_name_in_list"
        ),
        pytest.param([{"verb": 5}], "a dict of 'verb' without the name", id="name_is_no_text"),
        pytest.param([Say], "ModelMetaclass", id="class_instead_of_object"),
        pytest.param([[SAY], SAY], "a list inside of the list: spread it", id="list_in_list"),
        pytest.param(([SAY], 200), "a list inside of the list", id="status_as_in_flask"),
        pytest.param({"text": "Hi"}, "a dict of 'text' without the name", id="text_without_a_verb"),
        pytest.param({"input": ["digits"]}, "a dict of 'input' without the name", id="list_without_a_verb"),
    ],
)
def test_what_is_no_verb_is_refused(result: object, got: str) -> None:
    """A feature server would refuse it without a word to us."""
    with pytest.raises(TypeError, match=f"expected verbs.*got {got}"):
        verb_list(result)


async def test_a_forgotten_await_is_told_of() -> None:
    """The commonest slip in a handler that asks another function for its verbs."""

    async def ask() -> object:
        return SAY

    for result in (forgotten := ask(), [forgotten]):
        with pytest.raises(TypeError, match=r"a coroutine that was not awaited: `return await ask\(\)`"):
            verb_list(result)
    forgotten.close()


def test_a_value_json_cannot_hold_is_named() -> None:
    """The text says what it was."""
    with pytest.raises(TypeError, match="verbs: a set cannot be written as JSON"):
        verb_arrays([{"verb": "say", "text": {1}}])
    with pytest.raises(TypeError, match="data: "):
        dump({1: 2}, "data")


def test_a_long_list_is_split_in_order() -> None:
    """What fits goes into the ack, the rest is appended (P10)."""
    verbs = [{"verb": "say", "text": f"{i}:" + "x" * 1000} for i in range(60)]
    arrays = verb_arrays(verbs)
    assert len(arrays) == 3
    assert [verb for array in arrays for verb in orjson.loads(array)] == verbs
    assert all(len(redirect_frame(array, call_sid="x" * 128, queue=True)) <= MAX_MESSAGE_BYTES for array in arrays)


def test_a_single_verb_that_is_too_big_is_an_error_with_both_numbers() -> None:
    """It cannot be split, so its author must shorten it."""
    with pytest.raises(MessageTooBig) as caught:
        verb_arrays([SAY, {"verb": "say", "text": "x" * 30_000}])
    assert caught.value.limit_bytes == MAX_MESSAGE_BYTES
    assert caught.value.size_bytes > 30_000


def test_verbs_that_are_kept_are_plain_and_fit_into_one_ack() -> None:
    """A gateway reads them as JSON from the manifest, and has one ack to give them with."""
    gather = {"verb": "gather", "input": ["digits"], "say": Say(text="Hi")}
    assert plain_verbs(gather, "fallback") == (
        {"verb": "gather", "input": ["digits"], "say": {"verb": "say", "text": "Hi"}},
    )
    fits = {"verb": "say", "text": "x" * (MAX_VERBS_BYTES - len(dump([{"verb": "say", "text": ""}], "")))}
    assert plain_verbs(fits, "fallback") == (fits,)
    with pytest.raises(MessageTooBig, match="fallback of 30026 bytes") as caught:
        plain_verbs({"verb": "say", "text": "x" * 30_000}, "fallback")
    assert caught.value.limit_bytes == MAX_VERBS_BYTES
