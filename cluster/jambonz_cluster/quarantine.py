"""What `jambonz-cluster quarantine` does: shows the events whose handler kept killing workers, and gives them back."""

import re
from dataclasses import dataclass, replace
from typing import Any, Final

import click

from jambonz_cluster.connected import with_link
from jambonz_cluster.output import failed, json_text
from jambonz_shared.config import CommonSettings
from jambonz_shared.envelope import Envelope
from jambonz_shared.keys import Keys
from jambonz_shared.redis.link import Link

_ENTRY_ID: Final = re.compile(r"\d+-\d+")


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One event in quarantine.

    Attributes:
        id: Its entry in the stream; names it in commands.
        dispatch: The stream that workers of its app read.
        envelope: The event.
    """

    id: str
    dispatch: str
    envelope: Envelope

    def to_row(self) -> dict[str, Any]:
        """Return what may be shown: no data of the caller."""
        envelope = self.envelope
        return {
            "id": self.id,
            "call_sid": envelope.call_sid,
            "kind": envelope.kind,
            "received_at_ms": envelope.received_at_ms,
            "deaths": envelope.deaths,
        }


def list_events(settings: CommonSettings, *, as_json: bool) -> int:
    """Print what is in quarantine, oldest first; return the exit code."""

    async def ask(link: Link, keys: Keys) -> list[Quarantined]:
        return [_read(entry) for entry in await _range(link, keys, "-", "+")]

    def show(events: list[Quarantined]) -> int:
        rows = [event.to_row() for event in events]
        if as_json:
            click.echo(json_text(rows))
        else:
            for row in rows:
                click.echo("  ".join(f"{name} {value}" for name, value in row.items()))
            click.echo(f"{len(rows)} events in quarantine")
        return 0

    return with_link(settings, ask, show)


def replay_event(settings: CommonSettings, event_id: str) -> int:
    """Give an event to the workers again, once its handler is mended; return the exit code.

    Its hook has been acked long ago, so verbs that the handler returns go out as a ``redirect``. If the call has ended
    meanwhile, workers drop the event.
    """

    async def ask(link: Link, keys: Keys) -> Quarantined | None:
        event = await _find(link, keys, event_id)
        if event:
            # Outside of the numbers: its own is taken by the answer that was given in its place.
            again = replace(event.envelope, epoch=0, n=0, deaths=0, is_quarantined=False)
            await link.call(b"XADD", event.dispatch, b"*", b"e", again.encode())
            await link.call(b"XDEL", keys.quarantine, event_id)
        return event

    return with_link(settings, ask, lambda event: _told(event, event_id, "replayed"))


def drop_event(settings: CommonSettings, event_id: str) -> int:
    """Delete an event from quarantine; return the exit code."""

    async def ask(link: Link, keys: Keys) -> Quarantined | None:
        event = await _find(link, keys, event_id)
        if event:
            await link.call(b"XDEL", keys.quarantine, event_id)
        return event

    return with_link(settings, ask, lambda event: _told(event, event_id, "dropped"))


async def _find(link: Link, keys: Keys, event_id: str) -> Quarantined | None:
    if not _ENTRY_ID.fullmatch(event_id):
        return None
    entries = await _range(link, keys, event_id, event_id)
    return _read(entries[0]) if entries else None


async def _range(link: Link, keys: Keys, first: str, last: str) -> list[Any]:
    entries = await link.call(b"XRANGE", keys.quarantine, first, last)
    assert isinstance(entries, list)
    return entries


def _read(entry: Any) -> Quarantined:
    entry_id, fields = entry
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    return Quarantined(entry_id.decode(), values[b"dispatch"].decode(), Envelope.decode(values[b"e"]))


def _told(event: Quarantined | None, event_id: str, what: str) -> int:
    if event is None:
        return failed(f"no event {event_id!r} is in quarantine; `quarantine list` names them")
    click.echo(f"{what} {event.id}: {event.envelope.kind} of call {event.envelope.call_sid}")
    return 0
