"""A container engine for tests: the one that is there, or one of our own, started as a child and tidied up."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

REPO: Final = Path(__file__).resolve().parents[2]

START_LIMIT_S: Final = 60.0
STOP_LIMIT_S: Final = 20.0

# Own networks for the engine's default bridge and for Compose, apart from what people have at home.
BRIDGE: Final = "172.29.0.1/24"
POOL: Final = "base=172.28.0.0/16,size=24"

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
    if Path("/sys/class/net/docker0").exists():
        raise NoEngine("the bridge docker0 exists: another engine runs, which does not answer under DOCKER_HOST")
    # Not in memory, and not below a folder with a long name: a socket's path has 107 characters at most.
    folder = Path(tempfile.mkdtemp(prefix="jc-engine-", dir="/var/tmp"))
    daemon: subprocess.Popen[bytes] | None = None
    forward_policy = _forward_policy()
    try:
        daemon = _start(folder)
        yield _wait(Engine(f"unix://{folder}/docker.sock"), daemon, folder)
    finally:
        if daemon is not None:
            _stop(daemon)
        _remove_network(forward_policy)
        shutil.rmtree(folder, ignore_errors=True)


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
        *("--bip", BRIDGE, "--default-address-pool", POOL),
    ]
    with (folder / "log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)


def _wait(engine: Engine, daemon: "subprocess.Popen[bytes]", folder: Path) -> Engine:
    give_up_at_s = time.monotonic() + START_LIMIT_S
    while not engine.answers():
        if daemon.poll() is not None or time.monotonic() > give_up_at_s:
            raise NoEngine("dockerd does not run here:\n" + (folder / "log").read_text(errors="replace")[-1500:])
        time.sleep(0.1)
    return engine


def _stop(daemon: "subprocess.Popen[bytes]") -> None:
    """End the daemon; it stops its containers. Nothing else is signalled."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(STOP_LIMIT_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(STOP_LIMIT_S)


def _forward_policy() -> str:
    """Return what the kernel does with packets between networks; dockerd sets it to DROP and leaves it so."""
    words = [line.split() for line in _quietly("iptables", "-S", "FORWARD").splitlines()]
    return next((line[2] for line in words if line[:2] == ["-P", "FORWARD"]), "ACCEPT")


def _remove_network(forward_policy: str) -> None:
    """Remove what dockerd leaves behind: its bridge, its rules and chains of iptables, its policy."""
    _quietly("ip", "link", "del", "docker0")
    _quietly("iptables", "-P", "FORWARD", forward_policy)
    subnet = f"{BRIDGE.rpartition('.')[0]}.0/24"
    for table in ("filter", "nat"):
        lines = _quietly("iptables", "-t", table, "-S").splitlines()
        for line in lines:
            if line.startswith("-A ") and any(mark in line for mark in ("DOCKER", "docker0", subnet)):
                _quietly("iptables", "-t", table, "-D", *line.split()[1:])
        chains = [line.split()[1] for line in lines if line.startswith("-N DOCKER")]
        for option in ("-F", "-X"):
            for chain in chains:
                _quietly("iptables", "-t", table, option, chain)


def _quietly(*command: str | Sequence[str]) -> str:
    with contextlib.suppress(OSError):
        words = [str(word) for word in command]
        return subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return ""
