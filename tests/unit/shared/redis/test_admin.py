"""What INFO tells of a server that will not do."""

import pytest

from jambonz_shared.redis.admin import Finding, findings_of

GOOD: dict[str, object] = {
    "redis_version": "7.0.15",
    "maxmemory": 0,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "role": "master",
}


def test_good_server_has_no_findings() -> None:
    """No finding, no noise."""
    assert findings_of(GOOD) == []


@pytest.mark.parametrize("version", ["6.2.0", "6.10.1", "7.2", "8.0-rc1", "10.0.0"])
def test_new_enough_versions(version: str) -> None:
    """Versions are compared as numbers."""
    assert findings_of(GOOD | {"redis_version": version}) == []


@pytest.mark.parametrize("version", ["6.0.16", "5.0.7", "", "unknown"])
def test_versions_that_are_too_old_or_unknown(version: str) -> None:
    """They lack commands that events need."""
    findings = findings_of(GOOD | {"redis_version": version})
    assert [finding.is_fatal for finding in findings] == [True]
    assert "6.2" in findings[0].text


def test_eviction_is_told() -> None:
    """It forgets live calls."""
    findings = findings_of(GOOD | {"maxmemory": 1 << 30, "maxmemory_policy": "allkeys-lru"})
    assert findings == [
        Finding(is_fatal=False, text="maxmemory-policy is 'allkeys-lru': set noeviction, or live calls are forgotten")
    ]


def test_eviction_policy_without_a_limit_never_evicts() -> None:
    """It never comes into force."""
    assert findings_of(GOOD | {"maxmemory_policy": "allkeys-lru"}) == []


def test_missing_append_only_file_is_told() -> None:
    """Not fatal: development has none."""
    assert [finding.is_fatal for finding in findings_of(GOOD | {"aof_enabled": 0})] == [False]


def test_replica_is_fatal() -> None:
    """Nothing can be written to it."""
    assert [finding.is_fatal for finding in findings_of(GOOD | {"role": "slave"})] == [True]


def test_fields_a_managed_redis_leaves_out_are_not_held_against_it() -> None:
    """Only what is known is judged."""
    assert findings_of({"redis_version": "7.0.0"}) == []
