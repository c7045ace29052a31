"""Every Redis key and channel of the project: name, type, writer, reader and TTL in one place. Pure."""

import re
from dataclasses import dataclass
from typing import Final

GROUP: Final = "workers"
"""The consumer group of every dispatch stream."""

APP_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
"""What an app may be called: its name stands inside a hash tag, in credentials and in urls."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Names of all keys under one prefix. Braces are literal: they are the Redis Cluster hash tag.

    Attributes:
        prefix: First part of every name, so that clusters can share a Redis.
    """

    prefix: str = "jc:"

    def dispatch(self, app: str) -> str:
        """Stream, group ``workers``; Envelopes of unowned calls. All write, workers read. Permanent."""
        return f"{self.prefix}dispatch:{{{app}}}"

    def inbox(self, worker_id: str) -> str:
        """Stream; Envelopes of the calls a worker owns. It makes and reads it, all others only write. TTL: 24 h."""
        return f"{self.prefix}inbox:{{{worker_id}}}"

    def call(self, call_sid: str) -> str:
        """Hash; one Call and its log: architecture.md section 5. Scripts, gateways. TTL: call_ttl, or grace time."""
        return f"{self.prefix}call:{{{call_sid}}}"

    def chan(self, call_sid: str) -> str:
        """Channel of a Call: batches and notices live. Scripts publish, gateways subscribe."""
        return f"{self.prefix}chan:{{{call_sid}}}"

    @property
    def workers(self) -> str:
        """Sorted set; worker id -> last heartbeat in ms of the Redis clock. Permanent."""
        return f"{self.prefix}workers"

    @property
    def gateways(self) -> str:
        """Sorted set; gateway id -> last heartbeat in ms of the Redis clock. Permanent."""
        return f"{self.prefix}gateways"

    def worker(self, worker_id: str) -> str:
        """Hash; what a worker says of itself (architecture.md section 5); adopters read. TTL: 24 h, renewed."""
        return f"{self.prefix}worker:{{{worker_id}}}"

    def gateway(self, gateway_id: str) -> str:
        """Hash; what a gateway says of itself: host, pid, calls, capacity, started_at_ms. TTL: lease, renewed."""
        return f"{self.prefix}gateway:{{{gateway_id}}}"

    def owned(self, worker_id: str) -> str:
        """Set; call_sids a worker has claimed. The worker writes, adopters read. TTL: 24 h, renewed."""
        return f"{self.prefix}owned:{{{worker_id}}}"

    def held(self, gateway_id: str) -> str:
        """Set; call_sids whose websocket a gateway holds. The gateway writes, adopters read. TTL: 24 h, renewed."""
        return f"{self.prefix}held:{{{gateway_id}}}"

    def alive(self, worker_id: str) -> str:
        """Channel a living worker subscribes to, so that PUBSUB NUMSUB tells of a crash at once."""
        return f"{self.prefix}alive:{{{worker_id}}}"

    def canary(self, process_id: str) -> str:
        """Channel; a process publishes and hears itself each second, to know that messages come through."""
        return f"{self.prefix}canary:{{{process_id}}}"

    def taken(self, worker_id: str) -> str:
        """Stream; the inbox of a dead worker while it is adopted. Adopters only. TTL: 1 h."""
        return f"{self.prefix}inbox:{{{worker_id}}}:adopted"

    def of_worker(self, worker_id: str) -> tuple[str, ...]:
        """Return the keys that a worker leaves with."""
        streams = self.inbox(worker_id), self.taken(worker_id)
        return self.worker(worker_id), self.owned(worker_id), self.begun(worker_id), *streams

    def begun(self, worker_id: str) -> str:
        """Set; events over which workers have died, and which this one has begun to run. Adopters read. TTL: 24 h."""
        return f"{self.prefix}begun:{{{worker_id}}}"

    def adopting(self, process_id: str) -> str:
        """String; the worker that adopts a dead process now. TTL: 2 s, 1 s when it is done."""
        return f"{self.prefix}adopting:{{{process_id}}}"

    def adopted(self, worker_id: str) -> str:
        """String; who adopted a worker; tells it, should it wake up, that its calls are others'. TTL: 1 h."""
        return f"{self.prefix}adopted:{{{worker_id}}}"

    def app(self, app: str) -> str:
        """String; the app's manifest, JSON. Its workers write, gateways cache. Permanent."""
        return f"{self.prefix}app:{{{app}}}"

    @property
    def apps(self) -> str:
        """Set; names of all apps that ever had a worker. Permanent."""
        return f"{self.prefix}apps"

    @property
    def apps_changed(self) -> str:
        """Channel; a worker publishes its app's name here after it wrote a manifest."""
        return f"{self.prefix}apps-changed"

    def outcomes(self, process_id: str) -> str:
        """Channel; Outcomes of Directives a process asked to hear of. Gateways publish."""
        return f"{self.prefix}outcomes:{{{process_id}}}"

    @property
    def quarantine(self) -> str:
        """Stream, bounded; events whose handler kept killing workers. Permanent."""
        return f"{self.prefix}quarantine"
