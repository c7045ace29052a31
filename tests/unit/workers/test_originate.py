"""Outbound calls by jambonz's REST interface: whatever goes wrong there is one error."""

from json import JSONDecodeError
from typing import Any

import pytest
from jambonz_sdk.client import JambonzClient  # type: ignore[import-untyped]

from jambonz_workers import Account, NotCreated
from jambonz_workers.originate import create_call


def answering(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """Let the api-server give this answer to the SDK's client, or fail so."""

    async def request(*_: object, **__: object) -> object:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(JambonzClient, "_request", request)


async def create() -> str:
    return await create_call(Account("http://api.example", "ac", "key"), "+1", {"type": "phone", "number": "+2"}, {})


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(TimeoutError(), id="time_is_over"),
        pytest.param(JSONDecodeError("no JSON", "<html>", 0), id="no_json"),
        pytest.param("<html>", id="a_page"),
        pytest.param(None, id="nothing"),
        pytest.param({"msg": "queued"}, id="no_sid"),
        pytest.param({"sid": 7}, id="sid_is_no_text"),
    ],
)
async def test_a_call_that_may_not_be_there_is_not_created(monkeypatch: pytest.MonkeyPatch, answer: object) -> None:
    """An empty call_sid would be commanded in vain."""
    answering(monkeypatch, answer)
    with pytest.raises(NotCreated) as caught:
        await create()
    assert caught.value.status == 0


async def test_a_call_that_is_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the member that jambonz calls it (PROTOCOL.md section 9)."""
    answering(monkeypatch, {"sid": "call-1"})
    assert await create() == "call-1"


async def test_what_is_no_account_and_no_target_is_refused() -> None:
    """Before anything is sent."""
    wrong: Any = "+2"
    with pytest.raises(TypeError, match=r"expected Account\(base_url, account_sid, api_key\), got str"):
        await create_call(wrong, "+1", {"type": "phone", "number": "+2"}, {})
    with pytest.raises(TypeError, match=r"expected to={'type': 'phone', .*got str"):
        await create_call(Account("http://api.example", "ac", "key"), "+1", wrong, {})
