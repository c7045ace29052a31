"""Ports for the processes that tests start."""

import os
from typing import Final

from jambonz_cluster.embedded_redis import ROW_PORTS, free_ports

# A port that is about to be used looks free, so nobody is given one twice: other processes of the same run
# (pytest-xdist) have parts of the range of their own, and here is what this one has given.
_GIVEN: Final[set[int]] = set()


def free_row(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on, and that nobody else in this run is given."""
    part = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    size = len(ROW_PORTS) // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    while True:
        first = free_ports(count, ROW_PORTS[part * size : (part + 1) * size])
        row = range(first, first + count)
        if _GIVEN.isdisjoint(row):
            _GIVEN.update(row)
            return first
