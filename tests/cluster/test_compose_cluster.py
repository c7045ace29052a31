"""`docker compose up`, for real: who runs there, how calls are spread, and what they survive."""

import asyncio
import sys

import pytest

from jambonz_simulator import simulate_call
from tests.cluster.callers import STAYING, Calls, beside, calling
from tests.cluster.compose import PROJECT, ComposeCluster
from tests.conditions import until, until_now

pytestmark = [pytest.mark.long, pytest.mark.timeout(600)]

SERVICES = ("haproxy", "gateway", "worker", "redis", "cluster", "prometheus")


def assert_nothing_lost(calls: Calls, title: str) -> None:
    sys.stdout.write(calls.report(title) + "\n")
    assert calls.results, "no call was made"
    assert not calls.lost, f"{calls.report(title)}\n{calls.lost}\n{calls.stories()}"
    assert calls.deadline_misses == 0
    assert calls.silenced <= calls.moved / 4, "hooks die with their sockets within milliseconds, not more"


@pytest.mark.parametrize("service", SERVICES)
def test_container_is_neither_root_nor_able_to_change_its_image(compose: ComposeCluster, service: str) -> None:
    """Who breaks into a process finds nothing to write to, no capability, and a limit to its memory."""
    container = compose.containers(service)[0]
    host = compose.inspect(container)["HostConfig"]
    uid = compose.engine.run("docker", "exec", container, "id", "-u").strip()
    assert uid != "0"
    assert host["ReadonlyRootfs"] is True
    assert host["CapDrop"] == ["ALL"]
    assert "no-new-privileges:true" in host["SecurityOpt"]
    assert host["Memory"] > 0
    assert host["PidsLimit"] > 0


def test_redis_knows_nobody_but_the_cluster_and_its_commands(compose: ComposeCluster) -> None:
    """The built-in user is off, and the cluster's user can neither administrate nor read other keys."""
    redis = compose.containers("redis")[0]

    def cli(*words: str) -> str:
        shell = 'REDISCLI_AUTH=$REDIS_PASSWORD exec redis-cli --no-auth-warning --user "$REDIS_USER" "$@"'
        return compose.engine.run("docker", "exec", redis, "sh", "-c", shell, "sh", *words).strip()

    assert "NOAUTH" in compose.engine.run("docker", "exec", redis, "redis-cli", "ping")
    assert cli("ping") == "PONG"
    for words in (("flushall",), ("config", "get", "*"), ("keys", "*"), ("get", "other:key"), ("acl", "list")):
        assert cli(*words).startswith("NOPERM"), words


def test_prometheus_sees_every_process_and_takes_the_rules(compose: ComposeCluster) -> None:
    """Alerts that cannot be read, or look at half of the cluster, are worse than none."""
    (prometheus,) = compose.containers("prometheus")
    compose.engine.run("docker", "exec", prometheus, "promtool", "check", "rules", "/etc/prometheus/rules.yml")
    compose.engine.run("docker", "exec", prometheus, "promtool", "check", "config", "/etc/prometheus/prometheus.yml")
    wanted = [
        {f"{address}:{port}" for address in compose.addresses_of(container).values()}
        for service, port in (("gateway", 8081), ("worker", 8082), ("haproxy", 8404))
        for container in compose.containers(service)
    ]

    def all_are_scraped() -> bool:
        scraped = set(compose.metric("up == 1"))
        return len(scraped) == len(wanted) and all(addresses & scraped for addresses in wanted)

    until_now(all_are_scraped, f"one address of each of {wanted} is scraped")


# Tries wrong passwords from inside of a container and prints the status of each answer.
GUESSING = """
import base64, socket, sys
for number in range(int(sys.argv[1])):
    secret = base64.b64encode(f"jambonz:{sys.argv[2]}-{number}".encode()).decode()
    lines = ["GET /ivr HTTP/1.1", "Host: haproxy", "Connection: Upgrade", "Upgrade: websocket"]
    lines += ["Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="]
    lines += ["Sec-WebSocket-Protocol: ws.jambonz.org", f"Authorization: Basic {secret}"]
    with socket.create_connection(("haproxy", 3000), timeout=5) as connection:
        connection.sendall("\\r\\n".join([*lines, "", ""]).encode())
        print(connection.recv(64).split()[1].decode())
"""


def test_guesses_count_against_the_address_that_guesses(compose: ComposeCluster) -> None:
    """A gateway sees callers, not haproxy: who tries passwords locks out nobody else, and the log tells who it is."""

    def guess(service: str, times: int) -> list[str]:
        # Words of their own: a wrong secret that comes again is not counted again.
        return compose.compose("exec", "-T", service, "python", "-c", GUESSING, str(times), service).split()

    # The limit is 10 per minute and process, of three; less than a minute passes here.
    assert guess("cluster", 60)[-1] == "429"
    # More than a limit that was used up regains until they come.
    assert guess("worker", 9) == ["401"] * 9
    lines = compose.compose("logs", "--no-color", "gateway").splitlines()
    refusals = [line for line in lines if "login refused" in line]
    guesser = set(compose.addresses_of(compose.containers("cluster")[0]).values())
    haproxy = compose.addresses_of(compose.containers("haproxy")[0]).values()
    assert any(f'"{address}"' in line for line in refusals for address in guesser)
    assert not any(f'"{address}"' in line for line in refusals for address in haproxy)


async def test_calls_are_spread_over_all_gateways_and_workers(compose: ComposeCluster) -> None:
    """leastconn keeps the gateways within 20 %; workers pull what they have room for."""
    calls = [asyncio.create_task(simulate_call(compose.url, STAYING)) for _ in range(90)]

    def shares(role: str) -> list[int]:
        return [process["calls"] for process in compose.status()[role]]

    async def all_have_arrived() -> bool:
        return sum(await beside(lambda: shares("gateways"))) == 90 == sum(await beside(lambda: shares("workers")))

    await until(all_have_arrived, "90 calls live", limit_s=15)
    gateways, workers = shares("gateways"), shares("workers")
    results = await asyncio.gather(*calls)
    sys.stdout.write(f"calls by gateway {gateways}, by worker {workers}\n")
    assert_nothing_lost(Calls(list(results)), "spread")
    assert max(gateways) <= 30 * 1.2
    assert min(gateways) >= 30 * 0.8
    assert min(workers) > 0


async def test_scaling_up_and_down_loses_no_call(compose: ComposeCluster) -> None:
    """haproxy follows the number of containers by itself; gateways that go hand their calls over."""
    async with calling(compose.url, per_s=5) as calls:
        await beside(lambda: compose.up(gateway=4, worker=3))
        await beside(lambda: compose.up(gateway=2, worker=1))
        await beside(lambda: compose.up(gateway=3, worker=2))
    assert_nothing_lost(calls, "scaling")


@pytest.mark.parametrize("service", ["worker", "gateway", "redis", "haproxy"])
async def test_killing_a_container_loses_no_call(compose: ComposeCluster, service: str) -> None:
    """Whatever dies without a word, callers stay, and every hook is answered in time."""
    async with calling(compose.url, per_s=5) as calls:
        await until(lambda: len(calls.results) > 0, "the first call has ended", limit_s=30)
        container = (await beside(lambda: compose.containers(service)))[0]
        await beside(lambda: compose.kill(container))
        await beside(lambda: compose.until_status(lambda told: not told["problems"], "the cluster is whole again"))
        before = len(calls.results)
        await until(lambda: len(calls.results) >= before + 20, "20 calls have ended since", limit_s=40)
    assert_nothing_lost(calls, f"{service} killed")


async def test_redis_that_is_cut_off_for_a_while_loses_no_call(compose: ComposeCluster) -> None:
    """Gateways hold what they cannot publish; afterwards everything goes on."""
    network = f"{PROJECT}_inside"
    redis = compose.containers("redis")[0]
    async with calling(compose.url, per_s=5) as calls:
        await until(lambda: len(calls.results) > 0, "the first call has ended", limit_s=30)
        await beside(lambda: compose.engine.run("docker", "network", "disconnect", network, redis))
        await beside(lambda: until_now(lambda: compose.status() == {}, "the status page misses Redis"))
        await beside(lambda: compose.engine.run("docker", "network", "connect", "--alias", "redis", network, redis))
        await beside(lambda: compose.until_status(lambda told: not told["problems"], "the cluster is whole again"))
        before = len(calls.results)
        await until(lambda: len(calls.results) >= before + 20, "20 calls have ended since", limit_s=40)
    assert_nothing_lost(calls, "Redis cut off")


async def test_rolling_replacement_of_everything_loses_no_call(compose: ComposeCluster) -> None:
    """P7: new containers first, then all old ones drain together, so each call moves once at most per roll-out."""
    async with calling(compose.url, per_s=15) as calls:
        await until(lambda: len(calls.results) > 0, "the first call has ended", limit_s=30)
        await beside(lambda: compose.engine.run("deploy/docker/roll.sh", "worker", limit_s=180))
        await beside(lambda: compose.engine.run("deploy/docker/roll.sh", "gateway", limit_s=180))
    assert_nothing_lost(calls, "rolling replacement")
    assert max(calls.moves()) <= 1
    # 0.5 s of jambonz's own back-off, a handshake and an ack, with room for a busy machine.
    assert calls.longest_silence_s() < 4.0


def test_application_built_from_the_worker_image_runs(compose: ComposeCluster) -> None:
    """The second way to bring an application: an image of one's own with more packages in it."""
    dockerfile = (
        "FROM jambonz-cluster/worker\nUSER root\n"
        "RUN /usr/local/bin/python -m pip --python /opt/cluster/bin/python --version\n"
        'USER 10001:10001\nCMD ["worker", "hello:app"]\n'
    )
    engine = compose.engine
    engine.run("docker", "build", "-q", "-t", "jc-test/own-application", "-", stdin=dockerfile)
    out = engine.run("docker", "run", "--rm", "jc-test/own-application", "--version")
    assert out.endswith(", compiled\n"), "the hot modules of the image are sources"
