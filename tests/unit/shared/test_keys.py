"""The names of all keys."""

from collections.abc import Callable

import pytest

from jambonz_shared.keys import Keys

KEYS = Keys()


def test_names_are_those_of_the_architecture_page() -> None:
    """Dashboards, tests and people with redis-cli know them by heart (architecture.md section 5)."""
    assert [
        KEYS.dispatch("ivr"), KEYS.inbox("w1"), KEYS.call("a"), KEYS.chan("a"), KEYS.workers,
        KEYS.gateways, KEYS.worker("w1"), KEYS.gateway("g1"), KEYS.owned("w1"), KEYS.held("g1"), KEYS.alive("w1"),
        KEYS.app("ivr"), KEYS.apps, KEYS.outcomes("p1"), KEYS.quarantine, KEYS.apps_changed, KEYS.canary("p1"),
    ] == [
        "jc:dispatch:{ivr}", "jc:inbox:{w1}", "jc:call:{a}", "jc:chan:{a}", "jc:workers",
        "jc:gateways", "jc:worker:{w1}", "jc:gateway:{g1}", "jc:owned:{w1}", "jc:held:{g1}", "jc:alive:{w1}",
        "jc:app:{ivr}", "jc:apps", "jc:outcomes:{p1}", "jc:quarantine", "jc:apps-changed", "jc:canary:{p1}",
    ]  # fmt: skip


def test_keys_of_an_adoption_lie_beside_what_is_adopted() -> None:
    """Renaming an inbox needs both names in one slot of Redis Cluster."""
    assert slot_tag(KEYS.taken("w1")) == slot_tag(KEYS.inbox("w1"))
    assert KEYS.adopting("w1") == "jc:adopting:{w1}"
    assert KEYS.adopted("w1") == "jc:adopted:{w1}"


def test_worker_leaves_with_all_that_is_its_own() -> None:
    """P8: whatever is left out here stays behind until its TTL."""
    inboxes = (KEYS.inbox("w1"), KEYS.taken("w1"))
    assert KEYS.of_worker("w1") == (KEYS.worker("w1"), KEYS.owned("w1"), "jc:begun:{w1}", *inboxes)


def slot_tag(key: str) -> str:
    """Return what Redis Cluster hashes: the text between the first braces."""
    return key.partition("{")[2].partition("}")[0]


def test_keys_of_one_call_share_a_slot() -> None:
    """A script may touch keys of one slot only (architecture.md section 6)."""
    assert slot_tag(KEYS.call("a")) == slot_tag(KEYS.chan("a")) == "a"


@pytest.mark.parametrize("name", [Keys.call, Keys.inbox, Keys.app])
def test_prefix_keeps_clusters_apart(name: Callable[[Keys, str], str]) -> None:
    """Two clusters may share a Redis."""
    assert name(Keys("blue:"), "a").startswith("blue:")
    assert Keys("blue:").workers == "blue:workers"
