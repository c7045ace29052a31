"""A container engine for tests: the one that is there, or one of our own, started as a child and tidied up."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from jambonz_shared.runtime.lifeline import die_with_parent
from tests.cluster import leftovers

REPO: Final = Path(__file__).resolve().parents[2]

START_LIMIT_S: Final = 60.0

# Held as long as an engine of ours is there; the kernel lets go of it however its holder ends.
ONLY_ONE: Final = "\0jambonz-cluster-test-engine"

# What the files of the project name, made from Debian's packages: nothing is fetched from an image registry.
PACKAGES: Final = (
    "ca-certificates,python3,python3-venv,python3-pip,redis-server,haproxy,prometheus,"
    # Else the Dockerfile would have to get them for each test: gcc, and the headers of Debian's Python.
    "gcc,libc6-dev,libpython3-dev"
)
CERTIFICATES: Final = Path("/etc/ssl/certs/ca-certificates.crt")
BASE_IMAGE: Final = "python:3.11-slim"
DERIVED_IMAGES: Final = {
    "redis:7": "FROM python:3.11-slim\nRUN mkdir -p /data && chown 999:999 /data\n",
    "haproxy:2.6": "FROM python:3.11-slim\n",
    "prom/prometheus:v2.55.1": (
        "FROM python:3.11-slim\n"
        "RUN mkdir -p /prometheus && chown 65534:65534 /prometheus\n"
        'ENTRYPOINT ["/usr/bin/prometheus"]\n'
    ),
}


class NoEngine(Exception):
    """No containers can be run here; the text says why."""


class Engine:
    """A container engine that answers, reached by ``docker`` with these variables from this folder."""

    def __init__(self, host: str, folder: Path = REPO) -> None:
        self.environ = {**os.environ, "DOCKER_HOST": host, "DOCKER_BUILDKIT": "0", "COMPOSE_DOCKER_CLI_BUILD": "0"}
        self._folder = folder

    def at(self, folder: Path) -> "Engine":
        """Return the same engine, for commands from another folder with variables of their own."""
        return Engine(self.environ["DOCKER_HOST"], folder)

    def run(self, *command: str, limit_s: float = 60.0, stdin: str | None = None) -> str:
        """Run a command against the engine and return what it wrote; its errors are part of the failure."""
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self.environ,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def answers(self) -> bool:
        """Tell whether the engine is there."""
        with contextlib.suppress(AssertionError, OSError, subprocess.TimeoutExpired):
            self.run("docker", "version", limit_s=5)
            return True
        return False

    def has_image(self, name: str) -> bool:
        """Tell whether an image is there."""
        return bool(self.run("docker", "images", "-q", name).strip())

    def make_base_images(self, folder: Path) -> None:
        """Make the images that the project's files name, unless they are there."""
        if not self.has_image(BASE_IMAGE):
            self._import_base(folder)
        for name, dockerfile in DERIVED_IMAGES.items():
            if not self.has_image(name):
                self.run("docker", "build", "-q", "-t", name, "-", stdin=dockerfile)

    def _import_base(self, folder: Path) -> None:
        tar = folder / "base.tar"
        hooks = [
            f"copy-in {CERTIFICATES} /etc/ssl/certs",
            'ln -sf /usr/bin/python3 "$1/usr/local/bin/python"; rm -f "$1"/usr/lib/python3.11/EXTERNALLY-MANAGED',
        ]
        options = [f"--customize-hook={hook}" for hook in hooks]
        self.run(
            *("mmdebstrap", "-q", "--variant=minbase", f"--include={PACKAGES}", *options, "bookworm", str(tar)),
            limit_s=600,
        )
        changes = (
            "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "
            f"SSL_CERT_FILE={CERTIFICATES} PIP_CERT={CERTIFICATES}"
        )
        self.run("docker", "import", "-c", changes, str(tar), BASE_IMAGE, limit_s=300)
        tar.unlink()


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Give an engine while the block runs: that of ``DOCKER_HOST``, that of this machine, or a new one.

    Raises:
        NoEngine: If there is none and none can be started.
    """
    there = Engine(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if shutil.which("docker-compose") and there.answers():
        yield there
        return
    _install()
    with _only_one(), leftovers.ended_by_sigterm():
        for left_behind in leftovers.folders():
            leftovers.remove(left_behind)
        if Path("/sys/class/net/docker0").exists():
            raise NoEngine("the bridge docker0 exists: another engine runs, which does not answer under DOCKER_HOST")
        # Not in memory, and not below a folder with a long name: a socket's path has 107 characters at most.
        folder = Path(tempfile.mkdtemp(prefix=leftovers.PREFIX, dir=leftovers.PARENT))
        leftovers.note_policy(folder)
        daemon = _start(folder)
        try:
            yield _wait(Engine(f"unix://{folder}/docker.sock"), daemon, folder)
        finally:
            leftovers.remove(folder)
            daemon.wait(leftovers.STOP_LIMIT_S)


@contextmanager
def _only_one() -> Iterator[None]:
    """Let one test run of this machine at a time have an engine: folders that are there then belong to nobody."""
    with socket.socket(socket.AF_UNIX) as lock:
        try:
            lock.bind(ONLY_ONE)
        except OSError as error:
            raise NoEngine("another test run on this machine has an engine of its own") from error
        yield


def _install() -> None:
    if not sys.platform.startswith("linux"):
        raise NoEngine("containers need Linux")
    done = subprocess.run(
        ["bash", str(REPO / "scripts/install_docker.sh")], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NoEngine(f"no engine, and none could be installed: {(done.stderr or done.stdout).strip()}")


def _start(folder: Path) -> "subprocess.Popen[bytes]":
    command = [
        "dockerd",
        *("--data-root", str(folder / "data"), "--exec-root", str(folder / "exec")),
        *("--pidfile", str(folder / "pid"), "-H", f"unix://{folder}/docker.sock"),
        *("--bip", leftovers.BRIDGE, "--default-address-pool", f"base={leftovers.POOL},size=24"),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # dockerd stops its containers then; the next run's engine removes the rest.
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  two system calls, no lock
        )


def _wait(engine: Engine, daemon: "subprocess.Popen[bytes]", folder: Path) -> Engine:
    give_up_at_s = time.monotonic() + START_LIMIT_S
    while not engine.answers():
        if daemon.poll() is not None or time.monotonic() > give_up_at_s:
            raise NoEngine("dockerd does not run here:\n" + (folder / "log").read_text(errors="replace")[-1500:])
        time.sleep(0.1)
    return engine
