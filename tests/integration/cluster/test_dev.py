"""`jambonz-cluster dev`, run as a developer would."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from jambonz_cluster.dev import Dev, websocket_url
from jambonz_shared.config import GatewaySettings
from jambonz_simulator import CallOptions, Script, simulate_call
from tests.cluster_fixture import NO_CERTIFICATES
from tests.conditions import until_now
from tests.ports import free_row

APPLICATION = """
from jambonz_workers import App

print("application version 1")
app = App()


@app.session("/hello")
async def hello(call, event):
    return [{"verb": "hangup"}]
"""


class DevRun:
    """A running `dev` in a folder of its own, where its temporary data lies, too."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.application = folder / "my_app.py"
        self.application.write_text(APPLICATION)
        self.port = free_row(1)
        self._output = folder / "output.txt"
        self.process: subprocess.Popen[bytes] | None = None

    def end(self) -> None:
        if self.process is not None and self.is_running:
            self.signal(signal.SIGTERM)
            self.wait()

    def start(self, *arguments: str, target: str = "my_app:app", **environ: str) -> None:
        command = [sys.executable, "-m", "jambonz_cluster", "dev", target, "--port", str(self.port), *arguments]
        temporary = self.folder / "temporary"
        temporary.mkdir()
        with self._output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**os.environ, **NO_CERTIFICATES, "TMPDIR": str(temporary), **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def text(self) -> str:
        return self._output.read_text()

    def wait_for(self, line: str, *, times: int = 1) -> None:
        until_now(lambda: self.text.count(line) >= times or not self.is_running, f"{times} x {line!r} is shown")
        assert self.text.count(line) >= times, self.text

    @property
    def is_running(self) -> bool:
        assert self.process is not None
        return self.process.poll() is None

    def part(self, name: str) -> psutil.Process:
        assert self.process is not None
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if name in " ".join(child.cmdline()))

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def wait(self) -> int:
        assert self.process is not None
        return self.process.wait(30)

    @property
    def folders_left(self) -> list[str]:
        return [path.name for path in (self.folder / "temporary").iterdir()]


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[DevRun]:
    run = DevRun(tmp_path)
    yield run
    run.end()


@pytest.fixture(scope="module")
def lasting_dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevRun]:
    """One that is ready, for tests that leave it so and write a version of their own."""
    run = DevRun(tmp_path_factory.mktemp("dev"))
    run.start("--host", "127.0.0.1")
    run.wait_for("ready: ")
    yield run
    run.end()


@pytest.mark.parametrize("number", [pytest.param(signal.SIGTERM, marks=pytest.mark.long), signal.SIGINT])
def test_all_is_up_and_all_is_gone_after_a_signal(dev: DevRun, number: signal.Signals) -> None:
    """Ctrl-C leaves neither a process nor a folder."""
    dev.start()
    dev.wait_for(f"ready: ws://127.0.0.1:{dev.port} ")
    parts = [dev.part(name) for name in ("redis-server", " gateway ", " worker ")]
    assert len(dev.folders_left) == 1
    dev.signal(number)
    assert dev.wait() == 0, dev.text
    assert [part for part in parts if part.is_running()] == []
    assert dev.folders_left == []


def test_output_of_each_part_has_its_name(lasting_dev: DevRun) -> None:
    """One terminal shows all, and tells who speaks; what the application prints is shown, too."""
    lasting_dev.wait_for(" worker | application version 1\n")
    lasting_dev.wait_for("gateway | ")
    lasting_dev.wait_for("  redis | started at redis://127.0.0.1:")


def test_changed_file_restarts_the_worker(lasting_dev: DevRun) -> None:
    """Saving is enough to try a change; gateway and Redis stay up, and so do calls."""
    gateway = lasting_dev.part(" gateway ")
    lasting_dev.application.write_text(APPLICATION.replace("version 1", "version 2"))
    lasting_dev.wait_for("my_app.py changed: restarting the worker")
    lasting_dev.wait_for(" worker | application version 2")
    assert gateway.is_running()


def test_mistake_in_a_changed_file_can_be_mended(lasting_dev: DevRun) -> None:
    """A half-typed line that is saved does not end the session."""
    lasting_dev.application.write_text("app = (")
    lasting_dev.wait_for("SyntaxError")
    lasting_dev.wait_for("the worker ended with exit code 1; waiting for a change")
    lasting_dev.application.write_text(APPLICATION.replace("version 1", "version 3"))
    lasting_dev.wait_for(" worker | application version 3")


@pytest.mark.parametrize(
    "validate", [pytest.param("", id="as_it_is"), pytest.param("off", id="switched_off", marks=pytest.mark.long)]
)
def test_verbs_are_validated(dev: DevRun, validate: str) -> None:
    """A mistake is told with the handler's file and line, before jambonz would refuse the whole application."""
    dev.application.write_text(APPLICATION.replace('{"verb": "hangup"}', '{"verb": "gather", "numDigits": "many"}'))
    dev.start(**({"JAMBONZ_CLUSTER_VALIDATE_VERBS": validate} if validate else {}))
    dev.wait_for("ready: ")
    result = asyncio.run(simulate_call(f"ws://127.0.0.1:{dev.port}/hello", Script(patience_s=1), CallOptions(speed=20)))
    if validate:
        assert result.hooks[0].verbs == [{"verb": "gather", "numDigits": "many"}]
        assert "numDigits" not in dev.text
    else:
        dev.wait_for("verb 1 (gather): numDigits: 'many' is not of type 'number'")
        dev.wait_for(f"in the handler hello, {dev.application}:8")
        assert result.hooks[0].verbs == [{"verb": "sip:decline", "status": 500}]


def test_change_is_ignored_without_reload(dev: DevRun) -> None:
    """--no-reload is for looking at a crash in peace: the worker's death ends dev."""
    dev.start("--no-reload")
    dev.wait_for("ready: ")
    dev.application.write_text(APPLICATION.replace("version 1", "version 2"))
    dev.part(" worker ").kill()
    assert dev.wait() == 1
    assert "the worker ended with exit code -9" in dev.text
    assert "version 2" not in dev.text


@pytest.mark.parametrize(
    ("part", "sentence"),
    [
        pytest.param(" gateway ", "the gateway ended with exit code -9", id="gateway"),
        pytest.param("redis-server", "the Redis server ended", id="redis", marks=pytest.mark.long),
    ],
)
def test_dead_part_ends_dev_with_its_name(dev: DevRun, part: str, sentence: str) -> None:
    """Half a cluster would only confuse."""
    dev.start()
    dev.wait_for("ready: ")
    dev.part(part).kill()
    assert dev.wait() == 1
    assert f"    dev | {sentence}\n" in dev.text
    assert dev.folders_left == []


def test_application_that_does_not_exist_ends_dev(dev: DevRun) -> None:
    """The first start has to work; the message says what was looked for."""
    dev.start(target="absent:app")
    assert dev.wait() == 1
    assert "bad application: no module 'absent'" in dev.text
    assert "the worker ended with exit code 2" in dev.text


def test_taken_port_ends_dev(dev: DevRun) -> None:
    """Two of them at once need two ports."""
    with socket.create_server(("127.0.0.1", dev.port)):
        dev.start()
        assert dev.wait() == 1
    assert "address already in use" in dev.text


def test_redis_that_is_set_is_used(dev: DevRun, redis_url: str) -> None:
    """Whoever has a Redis may look into it while developing."""
    dev.start(REDIS_URL=redis_url)
    dev.wait_for("ready: ")
    assert "  redis | using the Redis that is set" in dev.text
    assert dev.folders_left == []
    dev.signal(signal.SIGTERM)
    assert dev.wait() == 0


def test_no_part_outlives_a_dev_that_is_killed(dev: DevRun) -> None:
    """Even kill -9 leaves no process that holds the port."""
    dev.start()
    dev.wait_for("ready: ")
    parts = [dev.part(name) for name in ("redis-server", " gateway ", " worker ")]
    dev.signal(signal.SIGKILL)
    dev.wait()
    until_now(lambda: not any(map(is_alive, parts)), "all parts have ended")


async def test_gateway_that_dies_during_a_visit_ends_it() -> None:
    """The demo does not wait for a call that nobody can answer."""

    async def visit(url: str) -> int:
        [gateway] = [child for child in psutil.Process().children() if " gateway " in " ".join(child.cmdline())]
        gateway.kill()
        await asyncio.Event().wait()
        return 0

    settings = GatewaySettings(host="127.0.0.1", port=free_row(1))
    assert await Dev("examples.hello:app", settings, is_reloading=False, visit=visit).run() == 1


async def test_worker_that_is_never_ready_ends_dev(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An application that hangs in its start is named instead of waited for."""
    monkeypatch.setattr("jambonz_cluster.dev.READY_LIMIT_S", 0.01)
    settings = GatewaySettings(host="127.0.0.1", port=free_row(1))
    assert await Dev("examples.hello:app", settings, is_reloading=False).run() == 1
    assert "the worker is not ready after 0.01 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("host", "url"),
    [
        pytest.param("127.0.0.1", "ws://127.0.0.1:3000", id="loopback"),
        pytest.param("0.0.0.0", "ws://127.0.0.1:3000", id="everywhere"),
        pytest.param("::", "ws://[::1]:3000", id="everywhere_ipv6"),
        pytest.param("my-laptop", "ws://my-laptop:3000", id="name"),
    ],
)
def test_url_shown_can_be_used_on_this_machine(host: str, url: str) -> None:
    """An address to listen on is not always one to connect to."""
    assert websocket_url(host, 3000) == url


def is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
