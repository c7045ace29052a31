"""Runs the command ``jambonz-cluster`` to its end, as an operator does."""

import asyncio
import os
import sys

from tests.cluster_fixture import REPO


async def run_command(*arguments: str, **environ: str) -> tuple[int, str, str]:
    """Run the command in a process of its own; return its exit code and what it wrote, to both streams."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "jambonz_cluster", *arguments),
        cwd=REPO,
        env=os.environ | environ,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()
