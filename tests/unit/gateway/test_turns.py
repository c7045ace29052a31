"""Handshakes in turn."""

import asyncio

from jambonz_gateway.turns import Turns


class Peer:
    """Something that arrives."""

    def __init__(self, number: int, arrived: list[int]) -> None:
        self.number = number
        self.arrived = arrived

    def arrive(self) -> None:
        self.arrived.append(self.number)


async def test_a_storm_of_handshakes_leaves_room_for_the_rest() -> None:
    """Each turn of the loop takes some, and all are taken in the end."""
    arrived: list[int] = []
    turns = Turns(asyncio.get_running_loop())
    for number in range(100):
        turns.wait(Peer(number, arrived))
    assert arrived == [], "nobody is called from inside of wait"
    in_each_turn = []
    while len(arrived) < 100:
        before = len(arrived)
        await asyncio.sleep(0)
        in_each_turn.append(len(arrived) - before)
    assert max(in_each_turn) == 16
    assert sorted(arrived) == list(range(100))


async def test_the_newest_comes_first() -> None:
    """Who has waited longest has given up, or is about to (PROTOCOL.md 1.1)."""
    arrived: list[int] = []
    turns = Turns(asyncio.get_running_loop())
    for number in range(3):
        turns.wait(Peer(number, arrived))
    await asyncio.sleep(0)
    assert arrived == [2, 1, 0]
