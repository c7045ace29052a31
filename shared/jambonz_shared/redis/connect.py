"""From a Redis URL to what can connect to it."""

from typing import Final

from jambonz_shared.redis.endpoint import Endpoint, UrlEndpoint
from jambonz_shared.redis.sentinel import SCHEMES, SentinelEndpoint

_CLUSTER_SCHEMES: Final = ("redis+cluster", "rediss+cluster")


def endpoint_of(url: str) -> Endpoint:
    """Return the endpoint of a ``redis://``, ``rediss://``, ``unix://`` or ``redis+sentinel://`` URL.

    Raises:
        ValueError: If the URL is none of these, or wrong in itself.
    """
    scheme = url.partition("://")[0]
    if scheme in _CLUSTER_SCHEMES:
        raise ValueError("Redis URL: Redis Cluster is not supported yet; use one primary, with Sentinel if need be")
    return SentinelEndpoint(url) if scheme in SCHEMES else UrlEndpoint(url)
