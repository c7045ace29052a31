"""The scripts of architecture.md section 6, typed: arguments packed, replies read. Pure.

For each script ``<name>_args`` gives the keys and arguments and ``<name>_reply`` reads the reply::

    link.script(on_reply, script.COMMIT, *commit_args(ownership, epoch, n, batch))

A reply reader takes what Redis answered, never an error: check ``isinstance(reply, Exception)`` first.
"""

from jambonz_shared.redis.scripts.attachment import (
    Attach,
    Attached,
    OtherApp,
    acked_args,
    acked_reply,
    attach_args,
    attach_reply,
    detach_args,
    detach_reply,
)
from jambonz_shared.redis.scripts.batches import (
    EARLY,
    NO_CHANGES,
    Changes,
    Committed,
    Duplicate,
    Queued,
    commit_args,
    commit_reply,
    send_args,
    send_reply,
)
from jambonz_shared.redis.scripts.names import GONE, CallKeys, Fenced, Gone, KeysAndArgs
from jambonz_shared.redis.scripts.ownership import (
    CallRecord,
    Claimed,
    Ended,
    Orphaned,
    OwnedBy,
    Ownership,
    StillLive,
    call_record,
    claim_args,
    claim_reply,
    end_args,
    end_reply,
    orphan_args,
    orphan_reply,
)
from jambonz_shared.redis.scripts.presence import Heartbeat, heartbeat_args, heartbeat_reply
from jambonz_shared.redis.scripts.recovery import (
    Abandoned,
    Memory,
    Restored,
    abandon_args,
    abandon_reply,
    restore_args,
    restore_reply,
)

__all__ = [
    "EARLY",
    "GONE",
    "NO_CHANGES",
    "Abandoned",
    "Attach",
    "Attached",
    "CallKeys",
    "CallRecord",
    "Changes",
    "Claimed",
    "Committed",
    "Duplicate",
    "Ended",
    "Fenced",
    "Gone",
    "Heartbeat",
    "KeysAndArgs",
    "Memory",
    "Orphaned",
    "OtherApp",
    "OwnedBy",
    "Ownership",
    "Queued",
    "Restored",
    "StillLive",
    "abandon_args",
    "abandon_reply",
    "acked_args",
    "acked_reply",
    "attach_args",
    "attach_reply",
    "call_record",
    "claim_args",
    "claim_reply",
    "commit_args",
    "commit_reply",
    "detach_args",
    "detach_reply",
    "end_args",
    "end_reply",
    "heartbeat_args",
    "heartbeat_reply",
    "orphan_args",
    "orphan_reply",
    "restore_args",
    "restore_reply",
    "send_args",
    "send_reply",
]
