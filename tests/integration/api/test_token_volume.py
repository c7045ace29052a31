"""Streamed text in bulk: buffers fill, callers interrupt, and every character is spoken once or not at all."""

import asyncio
import random
from collections.abc import Sequence
from typing import Final

import pytest

from jambonz_simulator import CallOptions, Script, live_call
from tests.cluster_fixture import ClusterFactory

CALLS: Final = 200
TOKENS: Final = 500
SEED: Final = 4
# At this speed jambonz gives a handshake 75 ms: not for all of them at once.
CALL_EVERY_S: Final = 0.02
# Without the transcripts, which nobody reads here.
OPTIONS: Final = CallOptions(speed=20, keeps_entries=False)


def behind_the_beginning(spoken: str, tokens: Sequence[str]) -> str:
    """Return what is left of ``spoken`` when the tokens it begins with are taken away, in order."""
    for token in tokens:
        if not spoken.startswith(token):
            break
        spoken = spoken.removeprefix(token)
    return spoken


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_hundred_thousand_tokens_are_spoken_once_and_in_order(cluster: ClusterFactory) -> None:
    """Every fourth caller interrupts somewhere; of these calls what was spoken is the beginning of the text."""
    running = await cluster("tests.apps.speaking:app", gateways=2, workers=2)
    chance = random.Random(SEED)
    cuts = [chance.randrange(1, TOKENS) if number % 4 == 0 else 0 for number in range(CALLS)]

    async def one(number: int, cut_after: int) -> bool:
        # Twenty words without a full stop are more than the buffer gives away at once.
        tokens = [f"{number}-{at}{'. ' if at % 20 == 0 else ' '}" for at in range(TOKENS)] + ["end. "]
        await asyncio.sleep(number * CALL_EVERY_S)
        async with live_call(f"{running.gateways[number % 2].url}/speaking", Script(), OPTIONS) as call:
            await call.wait_for_verb("gather", timeout_s=120)
            call.start_hook("/beside", args={"tokens": tokens})
            if cut_after:
                await call.wait_for("some are there", lambda it: len(it.commands) > cut_after, 500)
                await call.press("1")
            record = await call.wait_for_command("redirect", timeout_s=500)
            told = record.data[0]["data"]
            text = "".join(tokens)
            if not told["cut"]:
                await call.wait_for("all is spoken", lambda it: "".join(it.core.session.tts.spoken) == text, 60)
            spoken = "".join(call.core.session.tts.spoken)
            stray = behind_the_beginning(spoken, tokens)
            # One token may cross the interruption; jambonz is told to clear it, but its first words may be out.
            assert not stray or (
                told["cut"] and stray in tokens and any(it.command == "tts:clear" for it in call.commands)
            )
            assert told["cut"] or told["taken"] == text
            call.hang_up()
            await call.wait_for_end()
            return bool(told["cut"])

    interrupted = await asyncio.gather(*(one(number, cut) for number, cut in enumerate(cuts)))
    assert 0 < sum(interrupted) <= CALLS / 4
    assert not any(was_cut and not cut for was_cut, cut in zip(interrupted, cuts, strict=True))
