"""Fixtures for every suite: real Redis servers, the key-leak guard, whole clusters of processes."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path
from typing import Final, Literal

import pytest
from hypothesis import HealthCheck, settings

from jambonz_cluster.embedded_redis import EmbeddedRedis
from jambonz_shared.build import build_text, is_compiled
from tests.cluster_fixture import REPO, Cluster, ClusterFactory
from tests.compiled_modules import not_compiled
from tests.conditions import comes_true
from tests.lasting_clusters import LastingClusters
from tests.redis_cluster import RedisCluster, can_run
from tests.redis_servers import KeyLeakGuard, RedisServers, available, description

# How long an example takes says more about the machine than about the code.
settings.register_profile("steady", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")

_TIDY_UP_LIMIT_S: Final = 10.0
# A test that may take so long is tried once more only where failed ones are tried twice more: a check has 90 minutes.
_DEAR_S: Final = 300.0

_CLUSTERS: Final = pytest.StashKey[list[Cluster]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--compiled", action="store_true", help="refuse to run unless the compiled modules are imported")


def pytest_sessionstart(session: pytest.Session) -> None:
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", ""):
        # Hundreds of processes are started, and to compile our sources takes each a third of its start. To compile
        # the tests takes as long as all else that is done to collect them.
        sys.pycache_prefix = os.environ.setdefault("PYTHONPYCACHEPREFIX", str(REPO / "build" / "pycache"))
        sys.dont_write_bytecode = False
    if session.config.getoption("--compiled") and (found := not_compiled()):
        pytest.exit(f"not compiled: {', '.join(found)}", returncode=pytest.ExitCode.USAGE_ERROR)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Try dear tests once more only; leave out what is marked ``sources_only`` where the modules are compiled."""
    for item in items:
        limit = item.get_closest_marker("timeout")
        if config.getoption("reruns") and limit and limit.args[0] >= _DEAR_S:
            item.add_marker(pytest.mark.flaky(reruns=1))
    if not is_compiled():
        return
    left_out = [item for item in items if item.get_closest_marker("sources_only")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_report_header() -> list[str]:
    return [description(), f"jambonz-cluster {build_text()}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests marked ``both_redis`` or ``cluster_too`` against each server that is there."""
    if "redis_server" not in metafunc.fixturenames:
        return
    is_marked = metafunc.definition.get_closest_marker
    both, cluster_too = is_marked("both_redis"), is_marked("cluster_too")
    kinds = [*(available() if both else ["newest"]), *(["cluster"] if cluster_too and can_run() else [])]
    if both or cluster_too:
        are_long = any(mark.kwargs.get("others_are_long", False) for mark in (both, cluster_too) if mark)
        marks = {kind: [pytest.mark.long] if are_long and kind != "newest" else [] for kind in kinds}
        metafunc.parametrize("redis_server", [pytest.param(kind, marks=marks[kind]) for kind in kinds], indirect=True)


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[RedisServers]:
    """All servers of this run."""
    servers = RedisServers()
    yield servers
    servers.stop()


@pytest.fixture(scope="session")
def redis_cluster_of_session() -> Iterator[RedisCluster]:
    """The Redis Cluster of this run, started when first asked for."""
    with RedisCluster() as servers:
        yield servers


@pytest.fixture
def redis_cluster(redis_cluster_of_session: RedisCluster) -> RedisCluster:
    """A Redis Cluster that is whole and empty; what a test has killed is started again."""
    redis_cluster_of_session.heal()
    return redis_cluster_of_session


@pytest.fixture(scope="module")
def lasting_clusters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LastingClusters]:
    """The clusters of a module marked ``lasting_clusters``, with a Redis of their own."""
    with EmbeddedRedis(available()["newest"]) as server:
        clusters = LastingClusters(server, tmp_path_factory.mktemp("lasting"))
        yield clusters
        asyncio.run(clusters.stop())


@pytest.fixture
def redis_server(request: pytest.FixtureRequest, redis_servers: RedisServers) -> EmbeddedRedis | RedisCluster:
    """A running, empty Redis: the newest, or what the marks ``both_redis`` and ``cluster_too`` say."""
    kind: Literal["newest", "oldest", "cluster"] = getattr(request, "param", "newest")
    if kind == "cluster":
        servers: RedisCluster = request.getfixturevalue("redis_cluster")
        return servers
    if kind == "newest" and request.node.get_closest_marker("lasting_clusters"):
        lasting: LastingClusters = request.getfixturevalue("lasting_clusters")
        return lasting.redis_server
    return redis_servers.get(kind)


@pytest.fixture
def redis_url(redis_server: EmbeddedRedis | RedisCluster, key_leak_guard: KeyLeakGuard | None) -> str:
    """The URL of ``redis_server``; the guard comes with it and ends after whatever uses the URL."""
    return redis_server.url


@pytest.fixture(autouse=True)
def key_leak_guard(request: pytest.FixtureRequest) -> Iterator[KeyLeakGuard | None]:
    """Fail a test that used Redis and left keys there; None in tests without Redis."""
    if "redis_server" not in request.fixturenames:
        yield None
        return
    server: EmbeddedRedis | RedisCluster = request.getfixturevalue("redis_server")
    guard = KeyLeakGuard(server.url)
    yield guard
    if guard.is_active and server.is_running:
        leaks = guard.leaks()
        assert not leaks, "keys are left in Redis:\n" + "\n".join(leaks)


@pytest.fixture
async def cluster(
    request: pytest.FixtureRequest, redis_url: str, key_leak_guard: KeyLeakGuard, tmp_path: Path
) -> AsyncIterator[ClusterFactory]:
    """Starter of clusters of real processes.

    ``running = await cluster("tests.apps.echo:app", gateways=2, workers=2)`` returns when all are ready.

    Their logs are part of the report of a test that fails. All their processes are gone when the test has ended, or
    when its module has, if that is marked ``lasting_clusters``.
    """
    if request.node.get_closest_marker("lasting_clusters"):
        lasting: LastingClusters = request.getfixturevalue("lasting_clusters")
        if redis_url == lasting.redis_server.url:
            lasting.begin_test()
            request.node.stash[_CLUSTERS] = lasting.clusters
            yield lasting
            # Processes that go on may be about to delete what the test has ended.
            await comes_true(lambda: not key_leak_guard.leaks(), limit_s=_TIDY_UP_LIMIT_S)
            return
    factory = ClusterFactory(redis_url, tmp_path)
    request.node.stash[_CLUSTERS] = factory.clusters
    yield factory
    await factory.stop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the logs of clusters to the report of a test that has failed."""
    report = yield
    if report.failed:
        for running in item.stash.get(_CLUSTERS, []):
            report.sections.extend(running.log_sections())
    return report
