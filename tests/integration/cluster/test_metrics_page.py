"""docs/reference/metrics.md names the metrics that processes show, and the rules of Prometheus use no others."""

import re
from pathlib import Path
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from jambonz_gateway.metrics import SESSION_EVENTS
from tests.cluster_fixture import REPO, ClusterFactory, Member

PAGE: Final = REPO / "docs" / "reference" / "metrics.md"
USERS: Final = [REPO / "deploy" / "prometheus" / "rules.yml", *sorted((REPO / "deploy" / "grafana").rglob("*.json"))]
_NAME: Final = re.compile(r"\b(?:jambonz_(?:gateway|worker)|process)_[a-z_]+")


async def shown(member: Member) -> dict[str, str]:
    """Return the metrics of a process by the names that rules use, with their kind.

    prometheus_client adds to some counters when they began, as ``_created``.
    """
    url = f"http://127.0.0.1:{member.internal_port}/metrics"
    async with aiohttp.ClientSession() as client, client.get(url) as response:
        families = list(text_string_to_metric_families(await response.text()))
    return {
        f"{it.name}_total" if it.type == "counter" else it.name: it.type
        for it in families
        if not it.name.endswith("_created")
    }


def described(heading: str) -> dict[str, str]:
    """Return the metrics of one part of the page, with their kind."""
    part = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    rows = next(text for text in part if text.startswith(f"{heading}\n"))
    return dict(re.findall(r"^\| `([a-z_]+)` \| (gauge|counter|histogram) \|", rows, re.MULTILINE))


async def test_the_page_has_every_metric_and_no_other(cluster: ClusterFactory) -> None:
    """What is not there cannot be watched; what is gone keeps an alert silent for ever."""
    running = await cluster("examples.hello:app")
    gateway, worker = running.members
    both = described("Both")
    assert await shown(gateway) == described("Gateway") | both
    assert await shown(worker) == described("Worker") | both


def test_the_page_explains_every_event_of_a_session() -> None:
    """They are the values of a label, so that the test above does not see them."""
    rows = re.findall(
        r"^\| `([a-z_]+)` \| ", PAGE.read_text().split("| `event` | is |")[1].split("\n## ")[0], re.MULTILINE
    )
    assert sorted(rows) == sorted(SESSION_EVENTS)


def test_rules_and_dashboards_use_metrics_that_exist() -> None:
    """An alert on a misspelt name never fires."""
    known = {name for heading in ("Gateway", "Worker", "Both") for name in described(heading)}
    known |= {f"jambonz_worker_handler_seconds_{part}" for part in ("bucket", "sum", "count")}
    assert len(USERS) > 1
    assert {path.name: used(path) - known for path in USERS} == {path.name: set() for path in USERS}
    assert all(used(path) for path in USERS)


def used(path: Path) -> set[str]:
    return set(_NAME.findall(path.read_text()))
