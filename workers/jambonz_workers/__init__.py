"""Public API for applications, and the worker process that runs them."""

from jambonz_shared.errors import CallGone, CallLost, CallTransferred, ClusterError, MessageTooBig
from jambonz_shared.outcome import Outcome, OutcomeKind
from jambonz_shared.redis.errors import LinkDown
from jambonz_workers.app import App, Router
from jambonz_workers.call import Call
from jambonz_workers.calls import Calls, RemoteCall
from jambonz_workers.capabilities import Unsupported
from jambonz_workers.event import Event
from jambonz_workers.originate import Account, NotCreated
from jambonz_workers.phase import WouldEndParent, WrongState
from jambonz_workers.speech import Interrupted, Speech, SpeechFailed
from jambonz_workers.state import CallState
from jambonz_workers.verb_schemas import InvalidVerbs
from jambonz_workers.work import Work

__all__ = [
    "Account",
    "App",
    "Call",
    "CallGone",
    "CallLost",
    "CallState",
    "CallTransferred",
    "Calls",
    "ClusterError",
    "Event",
    "Interrupted",
    "InvalidVerbs",
    "LinkDown",
    "MessageTooBig",
    "NotCreated",
    "Outcome",
    "OutcomeKind",
    "RemoteCall",
    "Router",
    "Speech",
    "SpeechFailed",
    "Unsupported",
    "Work",
    "WouldEndParent",
    "WrongState",
]
