"""Gateways and workers as processes: several under one supervisor, and starts that fail."""

import signal

import aiohttp
import psutil
import pytest

from jambonz_cluster.processes import cause_of, run_processes
from jambonz_shared.config import WorkerSettings
from jambonz_shared.redis.errors import ResponseError
from jambonz_simulator.client import CallOptions, simulate_call
from tests.cluster_fixture import Cluster, ClusterFactory, Member
from tests.conditions import until

pytestmark = pytest.mark.lasting_clusters


async def status_of(port: int, page: str) -> int:
    async with aiohttp.ClientSession() as client:
        try:
            async with client.get(f"http://127.0.0.1:{port}{page}") as response:
                return response.status
        except aiohttp.ClientError:
            return 0


@pytest.fixture
async def several(cluster: ClusterFactory) -> Cluster:
    """A gateway and a worker of two processes each, on internal ports that follow each other."""
    return await cluster("examples.hello:app", processes=2)


async def test_each_process_has_its_internal_port(several: Cluster) -> None:
    """Process i adds i, so that a scraper reaches each of them."""
    for member in several.members:
        for index in (0, 1):

            async def is_ready(port: int = member.internal_port + index) -> bool:
                return await status_of(port, "/readyz") == 200

            await until(is_ready, f"{member.name}, process {index} is ready")


async def replace_one_child(supervisor: Member) -> None:
    """Kill a child and wait until the supervisor has started another."""
    victim = supervisor.child_pids[0]
    psutil.Process(victim).kill()
    await until(lambda: victim not in supervisor.child_pids and len(supervisor.child_pids) == 2, "a successor runs")


async def test_calls_go_on_when_one_of_two_processes_is_killed(several: Cluster) -> None:
    """The supervisor replaces it; the port stays open meanwhile."""
    [gateway] = several.gateways
    for member in several.members:
        await replace_one_child(member)
    await several.wait_ready()
    result = await simulate_call(f"{gateway.url}/hello", "hello", CallOptions(speed=50.0))
    assert result.is_good, result.outcome


async def test_supervisor_ends_with_its_children(several: Cluster) -> None:
    """SIGTERM to the parent drains all; exit code 0 says that nothing was cut off."""
    for member in several.members:
        children = [psutil.Process(pid) for pid in member.child_pids]
        member.terminate()
        assert await member.wait_ended() == 0
        assert [child for child in children if child.is_running()] == []


async def test_gateway_on_a_taken_port_fails_with_a_sentence(cluster: ClusterFactory) -> None:
    """Exit code 1 and one line, no traceback."""
    running = await cluster("examples.hello:app", workers=0)
    second = running.add_gateway()
    second.kill()
    await second.wait_ended()
    second.port = running.gateways[0].port
    second.start()
    assert await second.wait_ended() == 1
    assert "address already in use; choose another port with --port" in second.log_text
    assert "Traceback" not in second.log_text


async def test_worker_on_a_taken_internal_port_is_told_the_option(cluster: ClusterFactory) -> None:
    """8082 is also that of the second process of a gateway."""
    running = await cluster("examples.hello:app")
    second = running.add_worker()
    second.kill()
    await second.wait_ended()
    second.internal_port = running.workers[0].internal_port
    second.start()
    assert await second.wait_ended() == 1
    assert "address already in use; choose another port with --internal-port" in second.log_text


async def test_killed_process_tells_its_signal(cluster: ClusterFactory) -> None:
    """Chaos tests see how a process has ended, and can start it again on its port."""
    running = await cluster("examples.hello:app")
    [worker] = running.workers
    worker.kill()
    assert await worker.wait_ended() == -signal.SIGKILL
    await worker.restart()
    result = await simulate_call(f"{running.url}/hello", "hello", CallOptions(speed=50.0))
    assert result.is_good, result.outcome


def test_unexpected_error_is_written_down_with_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 1 lets the supervisor try again; the traceback lets people mend it."""

    async def serve(process_index: int) -> None:
        raise LookupError(f"process {process_index} is lost")

    assert run_processes(WorkerSettings(), serve, None, []) == 1
    error = capsys.readouterr().err
    assert "ended by an error" in error
    assert "LookupError: process 0 is lost" in error


def test_what_redis_refuses_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """A Redis without memory is no fault of ours; its text may hold arguments, so the code alone is told."""

    async def serve(_: int) -> None:
        raise ResponseError("OOM command not allowed when used memory > 'maxmemory'.")

    assert run_processes(WorkerSettings(), serve, None, []) == 1
    error = capsys.readouterr().err
    assert "cannot run: Redis refuses a command with OOM" in error
    assert "Traceback" not in error


def test_cause_is_found_inside_groups_of_one() -> None:
    """A TaskGroup wraps the sentence that matters; two causes stay together."""
    port_taken = OSError(98, "address already in use")
    assert cause_of(ExceptionGroup("outer", [ExceptionGroup("inner", [port_taken])])) is port_taken
    two = ExceptionGroup("two", [port_taken, ValueError()])
    assert cause_of(two) is two
