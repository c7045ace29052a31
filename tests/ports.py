"""Ports for the processes that tests start."""

import os
from typing import Final

from jambonz_cluster.embedded_redis import ROW_PORTS, free_ports


def free_row(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on.

    No other process of this run (pytest-xdist) has looked at them either: one that is about to be used looks free.
    """
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    parts = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    size: Final = len(ROW_PORTS) // parts
    return free_ports(count, ROW_PORTS[part * size : (part + 1) * size])
