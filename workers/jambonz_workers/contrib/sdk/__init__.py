"""Runs applications written for ``jambonz_sdk.websocket`` on the cluster: change the import, nothing else.

What differs, and must: the gateway listens, so ``host`` and ``port`` mean nothing here. Handlers that an application
registers on a session live in one worker's memory; when another worker takes a call over, the ``session:new`` handler
runs there again with ``session.is_resumed`` true and everything it sends left out, and ``session.locals`` is empty.
"""

from jambonz_workers.contrib.sdk.endpoint import Runner, create_endpoint
from jambonz_workers.contrib.sdk.services import Service, Services
from jambonz_workers.contrib.sdk.session import Session

__all__ = ["Runner", "Service", "Services", "Session", "create_endpoint"]
