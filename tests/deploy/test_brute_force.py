"""Somebody who tries passwords: each try is refused in the handshake, costs little, and disturbs nobody.

Here the calls come from the address that guesses, the worst case: they have been let in before, so they still are.
"""

import asyncio
from base64 import b64encode
from collections import Counter

import psutil

from jambonz_simulator import CallOptions, simulate_call
from tests.cluster_fixture import ClusterFactory

TRIES = 2000
AT_ONCE = 50

# Buffers of sockets that are just closing; two thousand sessions would take ten times as much.
RSS_GROWTH_MIB = 8.0


async def try_password(port: int, password: str | None) -> bytes:
    """Return the status line that a handshake with this password is answered with."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = ["GET /ivr HTTP/1.1", "Host: localhost", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += ["Sec-WebSocket-Protocol: ws.jambonz.org"]
    if password is not None:
        lines.append("Authorization: Basic " + b64encode(f"jambonz:{password}".encode()).decode())
    writer.write("\r\n".join([*lines, "", ""]).encode())
    status = await reader.readline()
    writer.close()
    return status


async def test_two_thousand_wrong_passwords_are_refused_and_leave_nothing(cluster: ClusterFactory) -> None:
    """All get 401, or 429 once there were too many.

    The gateway has neither sessions nor memory of them, and a real call goes through meanwhile.
    """
    running = await cluster("examples.ivr:app", settings={"JAMBONZ_CLUSTER_BASIC_AUTH": "jambonz:right-one"})
    gateway = running.gateways[0]
    process = psutil.Process(gateway.pid)
    assert (await try_password(gateway.port, "right-one")).split()[1] == b"101"
    await asyncio.gather(*(try_password(gateway.port, "warm-up") for _ in range(AT_ONCE)))
    before_mib = process.memory_info().rss / 2**20
    fds_before = process.num_fds()
    options = CallOptions(credentials=("jambonz", "right-one"), speed=20)
    call = asyncio.create_task(simulate_call(f"{running.url}/ivr", "hello", options))
    statuses: list[bytes] = []
    for start in range(0, TRIES, AT_ONCE):
        tries = (try_password(gateway.port, f"guess-{number}") for number in range(start, start + AT_ONCE))
        statuses += await asyncio.gather(*tries)
    statuses.append(await try_password(gateway.port, None))
    result = await call
    again = await simulate_call(f"{running.url}/ivr", "hello", options)
    counts = Counter(status.split()[1] for status in statuses)
    # The guesses of a minute but the warm-up, those that come back while it lasts, and the one without a password.
    assert 10 <= counts[b"401"] <= 30
    assert counts[b"429"] == TRIES + 1 - counts[b"401"]
    assert result.is_good
    assert again.is_good
    assert process.memory_info().rss / 2**20 - before_mib < RSS_GROWTH_MIB
    assert process.num_fds() <= fds_before + AT_ONCE
    assert (await try_password(gateway.port, "right-one")).split()[1] == b"101"
