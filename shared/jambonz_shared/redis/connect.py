"""From a Redis URL to what can connect to it: one Redis, or a cluster, behind the same interfaces."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jambonz_shared.redis import script as lua
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.cluster.channels import ClusterChannels
from jambonz_shared.redis.cluster.link import ClusterLink
from jambonz_shared.redis.cluster.topology import SCHEMES as CLUSTER_SCHEMES
from jambonz_shared.redis.cluster.topology import KeyEndpoint, Topology
from jambonz_shared.redis.endpoint import Endpoint, UrlEndpoint
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.script import Script
from jambonz_shared.redis.sentinel import SCHEMES, SentinelEndpoint

OnResubscribed = Callable[[], object]


class Backend(Protocol):
    """A kind of Redis. What it makes has to be run, inside the running loop."""

    def endpoint(self, key: str) -> Endpoint:
        """Return the way to the server that has a key, for a connection of its own (``StreamReader``)."""
        ...

    def link(self, name: str, scripts: Sequence[Script] = lua.ALL) -> Link:
        """Return a Link."""
        ...

    def channels(
        self, link: Link, canary: str, on_resubscribed: OnResubscribed | None = None, *, name: str = "channels"
    ) -> Channels:
        """Return Channels beside a Link of this backend."""
        ...


@dataclass(frozen=True, slots=True)
class OneRedis:
    """One server at a time: given by its URL, or named by Sentinels."""

    server: Endpoint

    def endpoint(self, key: str) -> Endpoint:
        """Return the way to the server; it has all keys."""
        del key
        return self.server

    def link(self, name: str, scripts: Sequence[Script] = lua.ALL) -> Link:
        """Return a Link."""
        return Link(self.server, name=name, scripts=scripts)

    def channels(
        self, link: Link, canary: str, on_resubscribed: OnResubscribed | None = None, *, name: str = "channels"
    ) -> Channels:
        """Return Channels beside a Link."""
        return Channels(self.server, link, canary, on_resubscribed, name=name)


@dataclass(frozen=True, slots=True)
class RedisCluster:
    """A Redis Cluster of version 7.0 or newer; older ones have no sharded channels."""

    topology: Topology

    def endpoint(self, key: str) -> Endpoint:
        """Return the way to the master of a key."""
        return KeyEndpoint(self.topology, key)

    def link(self, name: str, scripts: Sequence[Script] = lua.ALL) -> Link:
        """Return a Link to all masters."""
        return ClusterLink(self.topology, name=name, scripts=scripts)

    def channels(
        self, link: Link, canary: str, on_resubscribed: OnResubscribed | None = None, *, name: str = "channels"
    ) -> Channels:
        """Return sharded channels."""
        assert isinstance(link, ClusterLink)
        return ClusterChannels(self.topology, link, canary, on_resubscribed, name=name)


def backend_of(url: str) -> Backend:
    """Return the kind of Redis that a URL names.

    Raises:
        ValueError: If it names none, or is wrong in itself.
    """
    if url.partition("://")[0] in CLUSTER_SCHEMES:
        return RedisCluster(Topology(url))
    return OneRedis(endpoint_of(url))


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint of a ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://`` URL.

    Raises:
        ValueError: If the URL is none of these, or wrong in itself.
    """
    scheme = url.partition("://")[0]
    return SentinelEndpoint(url) if scheme in SCHEMES else UrlEndpoint(url)
