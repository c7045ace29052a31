"""What a load test must keep that asserts what it counts, not how fast this machine is."""

from typing import Final

# CI shares its two cores with others, who take them for seconds: acks of 1.8 s at the 99th percentile and a generator
# late at 8 % of the looks at its clock have been seen, with no hook missed.
ON_A_SHARED_MACHINE: Final = {"ACK_P99_MS": "3000", "LATE_SHARE": "1", "STARTED_SHARE": "0.5"}
