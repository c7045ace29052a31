"""One call to the menu of the examples, on a cluster of its own, for people to read."""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

import click

from jambonz_cluster.dev import Dev
from jambonz_cluster.embedded_redis import free_port
from jambonz_cluster.options import EXIT_USAGE
from jambonz_cluster.part import Part, Screen
from jambonz_shared.config import GatewaySettings
from jambonz_shared.runtime.loop import run_in_loop

APPLICATION: Final = "examples.ivr:app"
PATH: Final = "/ivr"
SCRIPT: Final = Path(__file__).with_name("demo_call.json")

# Prompts take as long as a person would speak them; nobody wants to wait for silence.
SPEED: Final = 5.0


def run_demo() -> int:
    """Run the demonstration and return the exit code: 0 if the call went well."""
    sys.path.insert(0, str(Path.cwd()))
    if importlib.util.find_spec("examples") is None:
        click.echo(f"the demo plays {APPLICATION}: run it in the repository's folder", err=True)
        return EXIT_USAGE
    settings = GatewaySettings(host="127.0.0.1", port=free_port())
    return run_in_loop(Dev(APPLICATION, settings, is_reloading=False, visit=play_caller).run())


async def play_caller(url: str) -> int:
    """Play one call and show it line by line; return 0 if every hook was answered and the call ended well."""
    command = [sys.executable, "-m", "jambonz_cluster", "simulate", f"{url}{PATH}"]
    caller = Part("caller", [*command, "--script", str(SCRIPT), "--speed", str(SPEED)], os.environ, Screen().say)
    await caller.start()
    try:
        return await caller.ended()
    finally:
        await caller.stop()
