"""How late this process is, seen by itself: a generator without CPU left would blame the cluster for it."""

from time import monotonic
from typing import Final

import gevent

from jambonz_load.tally import Tally

LOOK_EVERY_S: Final = 0.1
# A greenlet that wakes up so late would make acks look as late: a tenth of the slowest 99th percentile allowed.
LATE_S: Final = 0.1


def watch(tally: Tally) -> None:
    """Count for ever how often this process comes late to a look at its clock."""
    before_s = monotonic()
    while True:
        gevent.sleep(LOOK_EVERY_S)
        now_s = monotonic()
        tally.looks += 1
        tally.late_looks += now_s - before_s > LOOK_EVERY_S + LATE_S
        tally.watched_s += now_s - before_s
        before_s = now_s
