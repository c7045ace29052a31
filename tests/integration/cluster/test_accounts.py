"""Accounts that share a cluster: credentials of one cannot reach the calls of another, through real processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus
from websockets.typing import Subprotocol

from jambonz_shared.credentials import Credential, SecretHash
from jambonz_simulator.client import CallOptions, live_call
from jambonz_simulator.core.script import Script
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.conditions import until
from tests.integration.gateway.test_http import basic

APPS = "tests.apps.neighbours"


def line(app: str, user: str, secret: str) -> str:
    return str(Credential(frozenset({app}), user, SecretHash.of(secret, os.urandom(16), log2_n=0)))


async def attacks(url: str, frame: dict[str, Any]) -> int:
    """Open a websocket as zenith, say something about acme's call, and return the code it is closed with."""
    headers = basic("zenith:z-secret")
    offered = [Subprotocol("ws.jambonz.org")]
    async with connect(url, subprotocols=offered, additional_headers=headers, proxy=None) as socket:
        await socket.send(orjson.dumps(frame).decode())
        await socket.wait_closed()
        assert socket.close_code is not None
        return socket.close_code


@pytest.fixture
async def neighbours(cluster: ClusterFactory, tmp_path: Path) -> Cluster:
    """A gateway for two accounts, each with an app and a worker of its own; the credentials are in a file."""
    file = tmp_path / "credentials"
    file.write_text("\n".join([line("acme", "acme", "a-secret"), line("zenith", "zenith", "z-secret")]))
    settings = {"JAMBONZ_CLUSTER_CREDENTIALS_FILE": str(file)}
    running = await cluster(f"{APPS}:acme", settings=settings)
    running.application = f"{APPS}:zenith"
    await running.add_worker().wait_ready()
    return running


async def test_credentials_of_one_app_cannot_reach_the_calls_of_another(neighbours: Cluster) -> None:
    """Not by path, not as a reconnect, not by naming it in the URL; acme's call hears nothing of it and goes on."""
    url = neighbours.url
    options = CallOptions(credentials=("acme", "a-secret"), speed=20)
    async with live_call(f"{url}/ivr", Script(), options) as call:
        await until(lambda: call.current_verb is not None, "acme's call is answered")
        sid = call.call_sid
        with pytest.raises(InvalidStatus) as caught:
            await attacks(f"{url}/acme/ivr", {})
        assert caught.value.response.status_code == 404
        data = {"call_sid": sid}
        reconnect = {"type": "session:reconnect", "msgid": "m1", "call_sid": sid, "data": data}
        assert await attacks(f"{url}/ivr", reconnect) == 1008
        status = {"type": "call:status", "msgid": "m1", "call_sid": sid, "data": data | {"call_status": "completed"}}
        assert await attacks(f"{url}/ivr?call_sid={sid}", status) == 1008
        assert not call.anomalies
        call.hang_up()
        await call.wait_for_end()
    assert len([hook for hook in call.hooks if hook.kind == "session:new"]) == 1


async def test_sighup_makes_a_gateway_read_its_credentials_and_ends_no_worker(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    """Without waiting for the next look at the file; a worker, which reads none, must not die of it."""
    file = tmp_path / "credentials"
    file.write_text(line("default", "acme", "old"))
    settings = {"JAMBONZ_CLUSTER_CREDENTIALS_FILE": str(file)}
    running = await cluster("examples.ivr:app", settings=settings)
    for member in running.members:
        os.kill(member.pid, signal.SIGHUP)
    gateway, worker = running.gateways[0], running.workers[0]
    await until(lambda: "file read again" in gateway.log_text, "the gateway has read the file")
    assert worker.is_running
    assert "acme" not in gateway.log_text


def test_command_makes_lines_that_the_gateway_takes() -> None:
    """The secret is read from standard input, never from the command line, where others could see it."""
    command = [sys.executable, "-m", "jambonz_cluster", "config", "hash-secret", "ivr,shop", "acme"]
    chosen = subprocess.run(command, input=b"hunter2\n", capture_output=True, check=True).stdout.decode()
    assert chosen.startswith("ivr,shop:acme:scrypt.14.")
    made = subprocess.run([*command, "--generate"], capture_output=True, check=True)
    secret = made.stderr.decode().split()[-1]
    assert made.stdout.decode().startswith("ivr,shop:acme:sha256.")
    assert SecretHash.parse(made.stdout.decode().strip().split(":")[2]).matches(secret)
    assert len(secret) >= 32
