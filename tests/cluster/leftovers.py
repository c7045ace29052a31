"""All that an engine of ours has on this machine, by its folder, and its removal, also when its test run was killed."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

PARENT: Final = Path("/var/tmp")
PREFIX: Final = "jc-engine-"
POLICY_FILE: Final = "forward-policy"

# Own networks for the engine's default bridge and for Compose, apart from what people have at home.
BRIDGE: Final = "172.29.0.1/24"
POOL: Final = "172.28.0.0/16"
_ADDRESSES: Final = ("172.29.0.", "172.28.")

STOP_LIMIT_S: Final = 20.0

# The kernel cuts a process's name after 15 characters.
_PROGRAMS: Final = frozenset({"dockerd", "containerd", "containerd-shim", "docker-proxy", "runc"})


class _Process(NamedTuple):
    """A process that cannot be taken for a later one of the same pid."""

    pid: int
    started: str


def folders() -> list[Path]:
    """Return the folders of engines that are there."""
    return sorted(PARENT.glob(f"{PREFIX}*/"))


def note_policy(folder: Path) -> None:
    """Note in the folder what the kernel does with packets between networks; dockerd sets it to DROP for good."""
    words = [line.split() for line in _quietly("iptables", "-S", "FORWARD").splitlines()]
    policy = next((line[2] for line in words if line[:2] == ["-P", "FORWARD"]), "ACCEPT")
    (folder / POLICY_FILE).write_text(policy)


def remove(folder: Path) -> None:
    """End the engine of a folder with its containers, and remove its network and the folder. No other is touched."""
    _end(_processes(folder))
    _remove_network(folder)
    mounts = [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    for mount in sorted((it for it in mounts if folder in it.parents), reverse=True):
        _quietly("umount", "--lazy", str(mount))
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """End the block as Ctrl-C does when SIGTERM comes, so that what it has begun is tidied up.

    ``timeout`` sends the signal to the process and to its group: a second one must not end the tidying.
    """
    is_ending = False

    def end(*_: object) -> None:
        nonlocal is_ending
        if not is_ending:
            is_ending = True
            raise KeyboardInterrupt("SIGTERM")

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _processes(folder: Path) -> dict[_Process, str]:
    """Return the engine's processes with their names: those that work in the folder, and all that these have begun."""
    found: dict[int, tuple[_Process, str, int]] = {}
    ours: set[int] = set()
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            head, _, tail = (entry / "stat").read_text().rpartition(")")
            name, fields = head.partition("(")[2], tail.split()
            if fields[0] == "Z":
                continue
            pid = int(entry.name)
            # proc(5): the third field is the state, the fourth the parent, the 22nd the time of the start.
            found[pid] = (_Process(pid, fields[19]), name, int(fields[1]))
            if name in _PROGRAMS and os.fsencode(f"{folder}/") in (entry / "cmdline").read_bytes():
                ours.add(pid)
    while begun := {pid for pid, (_, _, parent) in found.items() if parent in ours} - ours:
        ours |= begun
    return {found[pid][0]: found[pid][1] for pid in ours}


def _end(processes: dict[_Process, str]) -> None:
    """Let dockerd stop its containers; what is there after that is killed."""
    for process, name in processes.items():
        if name == "dockerd":
            _signal(process, signal.SIGTERM)
    if "dockerd" in processes.values():
        _wait_for_end(processes)
    for process in processes:
        _signal(process, signal.SIGKILL)
    _wait_for_end(processes)


def _wait_for_end(processes: dict[_Process, str]) -> None:
    give_up_at_s = time.monotonic() + STOP_LIMIT_S
    while any(map(_is_alive, processes)) and time.monotonic() < give_up_at_s:
        time.sleep(0.05)


def _is_alive(process: _Process) -> bool:
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return fields[0] != "Z" and fields[19] == process.started
    return False


def _signal(process: _Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        if _is_alive(process):
            os.kill(process.pid, number)


def _remove_network(folder: Path) -> None:
    """Remove what dockerd leaves behind: its bridges, its rules and chains of iptables, its policy."""
    addresses = [line.split() for line in _quietly("ip", "-o", "-4", "address", "show").splitlines()]
    bridges = {words[1]: words[3] for words in addresses if words[1].startswith(("docker0", "br-"))}
    if bridges.get("docker0", BRIDGE) != BRIDGE:
        # Of another engine, whose chains have the same names.
        return
    for bridge, address in bridges.items():
        if address.startswith(_ADDRESSES):
            _quietly("ip", "link", "del", bridge)
    with contextlib.suppress(OSError):
        _quietly("iptables", "-P", "FORWARD", (folder / POLICY_FILE).read_text())
    for table in ("filter", "nat"):
        lines = _quietly("iptables", "-t", table, "-S").splitlines()
        for line in lines:
            if line.startswith("-A ") and _is_of_docker(line):
                _quietly("iptables", "-t", table, "-D", *line.split()[1:])
        chains = [line.split()[1] for line in lines if line.startswith("-N DOCKER")]
        for option in ("-F", "-X"):
            for chain in chains:
                _quietly("iptables", "-t", table, option, chain)


def _is_of_docker(rule: str) -> bool:
    """Tell whether a rule is of the engine that has just ended, or of networks of earlier ones that are gone."""
    if any(mark in rule for mark in ("DOCKER", "docker0", *_ADDRESSES)):
        return True
    bridges = re.findall(r"\bbr-[0-9a-f]{12}\b", rule)
    return bool(bridges) and not any(Path(f"/sys/class/net/{bridge}").exists() for bridge in bridges)


def _quietly(*command: str) -> str:
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return ""
