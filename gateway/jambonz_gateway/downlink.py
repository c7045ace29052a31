"""The gateway's side of call hashes and channels: attach, follow, read, delete, detach."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

import orjson

from jambonz_gateway.bucket import Bucket
from jambonz_gateway.effects import Attach, Detach, MarkAcked, ReadLog, Report
from jambonz_gateway.metrics import Metrics
from jambonz_gateway.places import NONE_UNDELETED, Followed, Holder, Place
from jambonz_shared import kinds
from jambonz_shared.directive import AppChanged, ConnectionLeft, decode_channel_message
from jambonz_shared.envelope import notice
from jambonz_shared.errors import BadFormat
from jambonz_shared.keys import Keys
from jambonz_shared.redis import script, scripts
from jambonz_shared.redis.channels import Channels
from jambonz_shared.redis.link import Link
from jambonz_shared.redis.scripts import CallKeys
from jambonz_shared.redis.scripts.batches import batch_field
from jambonz_shared.redis.wire import Reply

log = logging.getLogger(__name__)

_LEFT: Final = "left"
"""The line of a Connection that attaches when its socket is closed already: only to pass on what it had received."""

# Redis refuses writes for a while when it is out of memory; asking more often would not help it.
_RETRY_S: Final = 0.2
# Nobody waits for a deletion, so it need not cost a wake-up of Redis and one of ours per event. Should this process die
# in between, the next gateway sends the batch again: so soon that it was hardly written to the socket.
_DELETE_AFTER_S: Final = 0.002
# jambonz gives up a hook after 5 s (PROTOCOL.md 2.3): its ack is of no use then, and must not be found by a later
# Connection, which would say it as a redirect.
_GIVEN_UP_S: Final = 5.0
# Workers let the calls of a dead gateway go after its lease; this is for a set that no worker was left to tidy up.
HELD_TTL_S: Final = 24 * 3600


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this gateway is in Redis, and how long the keys of its Calls live."""

    gateway_id: str
    keys: Keys
    call_ttl_ms: int
    call_grace_ms: int


class _Hearing:
    """Hears the channel of a Call; it is the callback, so that it costs one object."""

    __slots__ = ("call_sid", "downlink")

    def __init__(self, downlink: "Downlink", call_sid: str) -> None:
        self.downlink = downlink
        self.call_sid = call_sid

    def __call__(self, raw: bytes) -> None:
        """Take a message."""
        self.downlink.heard(self.call_sid, raw)


class _Deletion:
    """Batches that are being deleted; it is the callback of the reply."""

    __slots__ = ("followed", "seqs")

    def __init__(self, followed: Followed, seqs: list[int]) -> None:
        self.followed = followed
        self.seqs = seqs

    def __call__(self, reply: object) -> None:
        """Take the reply."""
        # A number is the usual reply; else Redis has refused it, or nobody knows.
        if not isinstance(reply, int):
            self.followed.undeleted |= frozenset(self.seqs)


class Downlink:
    """Carries out a Session's Redis effects that concern its Calls.

    After the link was down every Call is attached again with the numbers known here, so a Redis that came back
    empty is filled (architecture.md section 8), then what was not yet deleted or detached is.
    """

    def __init__(self, link: Link, channels: Channels, metrics: Metrics, identity: Identity) -> None:
        self._link: Final = link
        self._channels: Final = channels
        self._metrics: Final = metrics
        self._identity: Final = identity
        self._held: Final = identity.keys.held(identity.gateway_id)
        self._loop: Final = asyncio.get_running_loop()
        self._refusals_told: Final = Bucket(0.1, 10, self._loop.time())
        self._calls: Final[dict[str, Followed]] = {}
        self._deleting: dict[str, list[int]] = {}

    @property
    def calls(self) -> int:
        """Calls followed now."""
        return len(self._calls)

    def epochs_of(self, call_sid: str) -> list[int]:
        """Return the epochs of a call's Connections here; 0 for one that is being attached."""
        followed = self._calls.get(call_sid)
        return [place.epoch for place in followed.places.values()] if followed else []

    def attach(self, holder: Holder, attach: Attach) -> None:
        """Subscribe and attach; ``holder.attached`` is called when both are confirmed."""
        call_sid = attach.call_sid
        followed = self._calls.get(call_sid)
        if followed is None:
            followed = self._calls[call_sid] = Followed(CallKeys.of(self._identity.keys, call_sid))
            self._channels.subscribe(
                followed.keys.chan.encode(), _Hearing(self, call_sid), partial(self._subscribed, call_sid)
            )
            self._link.send(_ignore, b"SADD", self._held, call_sid)
            if len(self._calls) == 1:
                # It makes the set; from then on heartbeats renew it.
                self._link.send(_ignore, b"EXPIRE", self._held, HELD_TTL_S)
        place = followed.places[id(holder)] = Place(holder, attach)
        if followed.is_subscribed:
            self._say_attach(followed, place)

    def read_log(self, holder: Holder, wanted: ReadLog) -> None:
        """Read what is behind a cursor; ``holder.log_read`` is called unless the link fails."""
        followed = self._calls.get(wanted.call_sid)
        if followed:
            on_reply = partial(self._log_read, holder, wanted)
            keys, args = scripts.undelivered_args(followed.keys, wanted.after_seq)
            self._link.script(on_reply, script.UNDELIVERED, keys, args)

    def delivered(self, call_sid: str, seq: int) -> None:
        """Delete a batch from the log in a moment, with others."""
        if not self._deleting:
            self._loop.call_later(_DELETE_AFTER_S, self._flush_deletes)
        self._deleting.setdefault(call_sid, []).append(seq)

    def left_to_another(self, call_sid: str, seq: int) -> None:
        """Delete a batch when nobody needs it any more, should the Connection not do so whose it is."""
        self._loop.call_later(_GIVEN_UP_S, self.delivered, call_sid, seq)

    def mark_acked(self, acked: MarkAcked) -> None:
        """Remember that ``session:new`` is acked, and what of the batch with its ack is left to be delivered."""
        if followed := self._calls.get(acked.call_sid):
            on_reply = partial(self._marked_acked, acked)
            self._link.script(on_reply, script.ACKED, *scripts.acked_args(followed.keys, acked.seq, acked.left))

    def _marked_acked(self, acked: MarkAcked, reply: Reply) -> None:
        # A Call that is not there yet (0) learns it with its attachment.
        if not isinstance(reply, Exception):
            return
        followed = self._calls.get(acked.call_sid)
        if self._link.is_up or followed is None:
            self._try_again("acked", reply, partial(self.mark_acked, acked))
        elif acked.left:
            followed.unmarked = (*followed.unmarked, acked)

    def report(self, report: Report) -> None:
        """Publish an Outcome; who waits for it has a time limit of its own."""
        self._link.send(_ignore, b"PUBLISH", self._identity.keys.outcomes(report.process_id), report.outcome.encode())

    def detach(self, holder: Holder, detach: Detach) -> None:
        """Leave the Call; ``holder.detached`` is called, after a reconnect if need be."""
        if detach.call_sid in self._deleting:
            # Whoever attaches next must not find in the log what was delivered here.
            self._flush_deletes()
        followed = self._calls.get(detach.call_sid)
        place = followed.places.get(id(holder)) if followed else None
        if followed and place:
            place.detach = detach
            self._say_detach(followed, place)

    def forget(self, holder: Holder, call_sid: str) -> None:
        """The Connection has nothing more to do with the Call."""
        followed = self._calls.get(call_sid)
        if followed is None:
            return
        followed.places.pop(id(holder), None)
        if not followed.places:
            del self._calls[call_sid]
            self._channels.unsubscribe(followed.keys.chan.encode())
            self._link.send(_ignore, b"SREM", self._held, call_sid)

    def attach_again(self) -> None:
        """Say again what a Redis that lost its connection, or its data, may not know."""
        for call_sid, followed in self._calls.items():
            self._link.send(_ignore, b"SADD", self._held, call_sid)
            # Before a newer Connection attaches here and reads the log.
            unmarked, followed.unmarked = followed.unmarked, ()
            for acked in unmarked:
                self.mark_acked(acked)
            for place in followed.places.values():
                if followed.is_subscribed:
                    self._say_attach(followed, place)
            if followed.undeleted:
                self._deleting.setdefault(call_sid, []).extend(sorted(followed.undeleted))
                followed.undeleted = NONE_UNDELETED
        self._flush_deletes()

    def resubscribed(self) -> None:
        """Catch up after the channels were deaf: attaching tells owner and Connections, the log the batches."""
        self.attach_again()
        for call_sid, holder in list(self._all()):
            holder.resubscribed(call_sid)

    def renew(self) -> None:
        """Prolong the life of every Call that has a Connection here; call it several times per TTL."""
        for followed in self._calls.values():
            # Behind a detach on its way it would prolong the grace time.
            if not all(place.is_leaving for place in followed.places.values()):
                self._link.send(_ignore, b"PEXPIRE", followed.keys.call, self._identity.call_ttl_ms)

    def _all(self) -> Iterator[tuple[str, Holder]]:
        for call_sid, followed in self._calls.items():
            for place in followed.places.values():
                yield call_sid, place.holder

    def _subscribed(self, call_sid: str) -> None:
        followed = self._calls.get(call_sid)
        if followed is None or followed.is_subscribed:
            return
        followed.is_subscribed = True
        for place in followed.places.values():
            self._say_attach(followed, place)

    def _say_attach(self, followed: Followed, place: Place) -> None:
        # Behind a detach on its way this would bring back a Connection that nobody detaches any more.
        if not self._link.is_up or place.is_leaving:
            return
        if place.is_attaching:
            place.is_outdated = True
            return
        call_sid = place.attach.call_sid
        known = place.holder.known(call_sid)
        # jambonz may have reconnected meanwhile; the newer Connection must not take this one for its successor.
        is_late = place.holder.has_left and not place.epoch
        attach = scripts.Attach(
            self._identity.gateway_id,
            place.app or place.holder.app_name,
            place.holder.path,
            _LEFT if is_late else place.attach.line,
            self._identity.call_ttl_ms,
            # A first try whose reply was lost has left a Connection that nobody holds: it is forgotten like a dead one.
            is_reconnect=not is_late and (place.attach.is_reconnect or (place.was_tried and not place.epoch)),
            epoch_known=place.epoch,
            seq_known=place.seq,
            owner_known=known.owner,
            fence_known=known.fence,
            is_acked_known=known.is_acked,
        )
        place.was_tried = True
        place.is_attaching = not place.epoch
        on_reply = partial(self._attached, place, call_sid)
        self._link.script(on_reply, script.ATTACH, *scripts.attach_args(followed.keys, attach))

    def _attached(self, place: Place, call_sid: str, reply: Reply) -> None:
        place.is_attaching = False
        is_outdated, place.is_outdated = place.is_outdated, False
        if isinstance(reply, Exception):
            self._try_again("attach", reply, partial(self._attach_again, place))
            return
        match scripts.attach_reply(reply):
            case scripts.OtherApp():
                place.holder.refused(call_sid)
            case scripts.Attached() as attached if not self._has(place):
                # Dropped meanwhile, see ``Gateway.gone``: nobody would detach it.
                keys = CallKeys.of(self._identity.keys, call_sid)
                left = scripts.detach_args(keys, attached.epoch, self._identity.call_grace_ms)
                self._link.script(_ignore, script.DETACH, *left)
            case scripts.Attached() as attached:
                place.epoch = attached.epoch
                place.seq = max(place.seq, attached.seq)
                place.belongs_to(attached.app)
                if attached.former_owner:
                    self._tell_transferred(call_sid, attached)
                place.holder.attached(call_sid, attached)
                if is_outdated:
                    self._attach_again(place)

    def _tell_transferred(self, call_sid: str, attached: scripts.Attached) -> None:
        """Let the worker that owned the call know at once; should this be lost, it finds out by itself."""
        log.info("call transferred", extra={"call_sid": call_sid, "app": attached.app})
        body = orjson.dumps({"app": attached.app, "fence": attached.fence})
        now_ms = time.time_ns() // 1_000_000
        envelope = notice(call_sid, kinds.TRANSFERRED, now_ms, gateway_id=self._identity.gateway_id, body=body)
        inbox = self._identity.keys.inbox(attached.former_owner)
        self._link.send(_ignore, b"XADD", inbox, b"NOMKSTREAM", b"*", b"e", envelope.encode())

    def heard(self, call_sid: str, raw: bytes) -> None:
        """Take a message of a call channel."""
        followed = self._calls.get(call_sid)
        if followed is None:
            return
        try:
            message = decode_channel_message(raw)
        except BadFormat as error:
            self._metrics.failures += 1
            log.error("message on a call channel cannot be read", extra={"call_sid": call_sid, "why": str(error)})
            return
        for place in list(followed.places.values()):
            if isinstance(message, AppChanged):
                place.belongs_to(message.app)
            place.holder.channel(call_sid, message)
            if isinstance(message, ConnectionLeft) and message.epoch == place.epoch and place.detach is None:
                # Others took this process for dead, or a Redis without its last second gave the epoch to two.
                self._say_attach(followed, place)

    def _log_read(self, holder: Holder, wanted: ReadLog, reply: Reply) -> None:
        if isinstance(reply, Exception):
            # If the link is down everything is attached again when it is back, and then the log is read.
            self._try_again("read_log", reply, partial(self.read_log, holder, wanted))
            return
        holder.log_read(wanted, scripts.undelivered_reply(reply))

    def _flush_deletes(self) -> None:
        deleting, self._deleting = self._deleting, {}
        for call_sid, seqs in deleting.items():
            followed = self._calls.get(call_sid)
            if followed is None:
                continue
            for place in followed.places.values():
                place.seq = max(place.seq, seqs[-1])
            fields = [batch_field(seq) for seq in seqs]
            self._link.send(_Deletion(followed, seqs), b"HDEL", followed.keys.call, *fields)

    def _say_detach(self, followed: Followed, place: Place) -> None:
        if self._link.is_up and place.detach:
            place.is_leaving = True
            on_reply = partial(self._detached, place, place.attach.call_sid)
            self._link.script(
                on_reply,
                script.DETACH,
                *scripts.detach_args(followed.keys, place.detach.epoch, self._identity.call_grace_ms),
            )

    def _detached(self, place: Place, call_sid: str, reply: Reply) -> None:
        if isinstance(reply, Exception):
            place.is_leaving = False
            self._try_again("detach", reply, partial(self._detach_again, place))
            return
        left = scripts.detach_reply(reply)
        place.holder.detached(call_sid, left if isinstance(left, int) else -1)

    def _try_again(self, what: str, error: Exception, again: Callable[[], None]) -> None:
        """Say it again soon if Redis refuses for a while (out of memory); a link that is down says it when it is up."""
        if self._link.is_up:
            self._metrics.count_refusal(error)
            # Each call says it five times per second; the metric counts them.
            if self._refusals_told.has_room(self._loop.time()):
                log.error("redis refused a command", extra={"command": what, "why": getattr(error, "code", str(error))})
            self._loop.call_later(_RETRY_S, again)

    def _has(self, place: Place) -> bool:
        followed = self._calls.get(place.attach.call_sid)
        return followed is not None and place in followed.places.values()

    def _attach_again(self, place: Place) -> None:
        if self._has(place):
            self._say_attach(self._calls[place.attach.call_sid], place)

    def _detach_again(self, place: Place) -> None:
        if self._has(place):
            self._say_detach(self._calls[place.attach.call_sid], place)


def _ignore(reply: Reply) -> None:
    """Take a reply nobody waits for: ``attach_again`` or a renewal says it again, or it is worth nothing late."""
