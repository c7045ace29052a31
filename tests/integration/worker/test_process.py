"""A worker as the process it is: settings, pages, signals, lifespan."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
from redis.asyncio import Redis

from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_workers import App, Call
from tests.conditions import until
from tests.integration.worker.conftest import Start
from tests.integration.worker.gateway_double import GatewayDouble
from tests.ports import free_row

REPO = Path(__file__).resolve().parents[3]


@asynccontextmanager
async def worker(app: str, redis_url: str, port: int, cwd: Path = REPO) -> AsyncIterator[Process]:
    """Run a worker by the command line; killed at the end if it still runs."""
    command = [sys.executable, "-m", "jambonz_cluster", "worker", app]
    flags = ["--redis-url", redis_url, "--internal-port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, *flags, cwd=cwd, stdout=PIPE, stderr=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def page(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def is_ready(port: int) -> bool:
    try:
        return (await page(port, "/readyz"))[0] == 200
    except aiohttp.ClientError:
        return False


async def test_a_lifespan_that_raises_is_told_in_one_line(redis_url: str, tmp_path: Path) -> None:
    """With what it raised, and where in the application; an OSError of its database is not taken for one of ours."""
    (tmp_path / "shop.py").write_text(
        "from contextlib import asynccontextmanager\n"
        "from jambonz_workers import App\n"
        "@asynccontextmanager\n"
        "async def open_all(app):\n"
        "    raise ConnectionRefusedError('no database at db:5432')\n"
        "    yield\n"
        "app = App('shop', lifespan=open_all)\n"
    )
    port = free_row(1)
    async with worker("shop:app", redis_url, port, cwd=tmp_path) as process:
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        lines = errors.decode().splitlines()
        at = next(at for at, line in enumerate(lines) if " ERROR " in line)
        assert process.returncode == 1
        assert lines[at].endswith(
            "cannot run: the lifespan of the app 'shop' raised ConnectionRefusedError: no database at db:5432"
        )
        # The traceback begins in the application.
        assert lines[at + 1] == "Traceback (most recent call last):"
        assert f'File "{tmp_path}/shop.py", line 5, in open_all' in lines[at + 2]


async def test_a_worker_that_waits_for_redis_ends_when_it_is_told_to() -> None:
    """It has no call to look after: nobody should have to kill it, or to wait for the end of its grace period."""
    port = free_row(1)
    async with worker("examples.ivr:app", "redis://127.0.0.1:1/0", port) as process:
        await until(lambda: _is_unready(port), "the worker is up, and without Redis")
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            _, errors = await process.communicate()
        assert process.returncode == 0
        assert "told to end before Redis answered" in errors.decode()


async def test_a_worker_process_answers_calls_and_leaves_with_exit_code_0(
    redis_url: str, redis: Redis, gateway: GatewayDouble
) -> None:
    """SIGTERM while a call lives: the call is let go for others, nothing of the worker stays."""
    port = free_row(1)
    async with worker("examples.ivr:app", redis_url, port) as process:
        await until(lambda: is_ready(port), "the worker is ready")
        assert b"GREETING" in (await redis.get("jc:app:{default}") or b"")
        line = await gateway.open()
        verbs = await line.start()
        assert [verb["verb"] for verb in verbs] == ["answer", "gather"]
        assert await line.hook("/menu", digits="9") == [{"verb": "say", "text": "Goodbye."}, {"verb": "hangup"}]
        status, text = await page(port, "/metrics")
        assert status == 200
        assert 'jambonz_worker_events_total{kind="verb:hook"} 1.0' in text
        assert "jambonz_worker_calls 1.0" in text
        process.send_signal(signal.SIGTERM)
        await until(lambda: _is_unready(port), "the worker says that it drains")
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
        assert process.returncode == 0, errors.decode()
    await line.wait(lambda: line.owner == "", "nobody owns the call")
    assert not await redis.keys("jc:worker:*")
    async with worker("examples.ivr:app", redis_url, port) as process:
        await line.hook("/menu", digits="1")
        await line.end()
        process.send_signal(signal.SIGTERM)
        await process.communicate()


async def _is_unready(port: int) -> bool:
    try:
        return (await page(port, "/readyz"))[0] == 503
    except aiohttp.ClientError:
        return False


async def supervisor(redis_url: str, *arguments: str) -> tuple[int, str]:
    """Run the example as a process of its own."""
    environment = {**os.environ, "REDIS_URL": redis_url}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "examples/supervisor.py", *arguments, cwd=REPO, env=environment, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode()


async def test_a_supervisor_sees_a_live_call_and_takes_it_over(
    redis_url: str, start: Start, gateway: GatewayDouble
) -> None:
    """P5, from a process that is no worker."""
    app = App()

    @app.session("/ivr")
    async def welcome(call: Call) -> object:
        call.state["tries"] = 0
        return [{"verb": "pause", "length": 60}]

    await start(app)
    line = await gateway.open()
    await line.start({"call_status": "trying"})
    all_calls, of_another = await asyncio.gather(
        supervisor(redis_url, "list"), supervisor(redis_url, "list", "--app", "other")
    )
    assert all_calls == (0, f"{line.sid}  default  trying  state: ['tries']\n")
    assert of_another == (0, "")
    assert await supervisor(redis_url, "take", line.sid, "--say", "Bye") == (0, "sent\n")
    assert line.frames[-1]["data"][0] == {"verb": "say", "text": "Bye"}
    gateway.outcome = lambda it: Outcome(it.id, OutcomeKind.REFUSED, "the call is over")
    assert await supervisor(redis_url, "take", line.sid) == (1, "refused the call is over\n")
    await line.end()
    code, output = await supervisor(redis_url, "take", line.sid)
    assert code == 1
    assert "too late" in output
