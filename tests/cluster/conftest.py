"""The compose cluster, once for all tests here; without an engine they are skipped, and say why."""

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.cluster.compose import ComposeCluster
from tests.cluster.engine import Engine, NoEngine, running_engine

_RUNNING: list[ComposeCluster] = []

# Called by their targets: what `docker-compose build` would do without asking for a registry's images.
TARGETS = ("cluster", "gateway", "worker", "loadtest")


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the project's images, built from this working tree."""
    try:
        with running_engine() as engine:
            engine.make_base_images(tmp_path_factory.mktemp("base"))
            for target in TARGETS:
                engine.run(
                    "docker", "build", "-q", "--target", target, "-t", f"jambonz-cluster/{target}", ".", limit_s=600
                )
            yield engine
    except NoEngine as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="session")
def compose(engine: Engine) -> Iterator[ComposeCluster]:
    """Three gateways and two workers behind haproxy."""
    running = ComposeCluster(engine, basic_auth="jambonz:secret")
    _RUNNING.append(running)
    try:
        running.up(gateway=3, worker=2)
        yield running
    finally:
        running.down()
        _RUNNING.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the containers' last lines to the report of a test that has failed."""
    report = yield
    if report.failed and Path(__file__).parent in item.path.parents:
        report.sections.extend(("containers", running.logs()) for running in _RUNNING)
    return report
