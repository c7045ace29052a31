"""Clusters that outlast a test: the next test of the same module goes on with the processes of the one before."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jambonz_cluster.embedded_redis import EmbeddedRedis
from tests.cluster_fixture import Cluster, ClusterFactory
from tests.redis_servers import empty


class LastingClusters(ClusterFactory):
    """Starts a cluster for the first test that asks for one; tests after it that ask for the same get that.

    What a test has killed, frozen or added to is not used again, nor is one of two that a test has started. Between two
    clusters Redis is emptied.
    """

    def __init__(self, redis_server: EmbeddedRedis, folder: Path) -> None:
        super().__init__(redis_server.url, folder)
        self.redis_server = redis_server
        self._terms: tuple[object, ...] = ()
        self._is_new_test = True

    def begin_test(self) -> None:
        """Let the next cluster that is asked for be the one that is there."""
        self._is_new_test = True

    async def __call__(
        self,
        application: str,
        *,
        gateways: int = 1,
        workers: int = 1,
        others: Sequence[str] = (),
        processes: int = 1,
        settings: Mapping[str, str] | None = None,
    ) -> Cluster:
        """Return a cluster, as that of ``ClusterFactory``."""
        terms = (application, gateways, workers, tuple(others), processes, dict(settings or {}))
        if self._is_new_test:
            self._is_new_test = False
            if terms == self._terms and self._is_as_started(gateways + workers + len(others)):
                return self.clusters[0]
            await self.stop()
            empty(self.redis_server)
            self._terms = terms
        return await super().__call__(
            application, gateways=gateways, workers=workers, others=others, processes=processes, settings=settings
        )

    async def stop(self) -> None:
        """Stop every cluster and forget it."""
        await super().stop()
        self.clusters.clear()

    def _is_as_started(self, processes: int) -> bool:
        members = [member for cluster in self.clusters for member in cluster.members]
        return len(members) == processes and all(member.is_running and member.is_untouched for member in members)
