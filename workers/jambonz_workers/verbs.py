"""What a handler returns, as the JSON that jambonz reads. Pure.

Verbs are structural: a dict, anything with ``to_list()``, ``to_dict()`` or pydantic's ``model_dump()``, or a
list of these. So the builders and models of jambonz-python-sdk work as they are.
"""

from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import orjson

from jambonz_shared.errors import MessageTooBig
from jambonz_shared.wire import MAX_MESSAGE_BYTES, MAX_VERBS_BYTES, split_verbs
from jambonz_workers.events.members import mapping_in, text_in

Verbs: TypeAlias = Sequence[Mapping[str, Any]]
"""What ``verb_list`` has found in what an application gave."""

AGENT: Final = "agent"
"""A verb that names no vendor of its model; as a vendor, the commercial line's own shape of a tool's answer."""

_VERBS_WITH_VENDOR: Final = frozenset({"llm", "s2s"})
_SUFFIX: Final = "_s2s"

# A frame around the array needs at most 250 bytes (wire.split_verbs knows exactly); below this there is
# nothing to split and the array is dumped in one go.
_SURELY_FITS_BYTES: Final = MAX_MESSAGE_BYTES - 1000

_EXPECTED: Final = "expected verbs: a dict, a list of dicts, a builder with to_list(), a model, or None"


def verb_arrays(verbs: Verbs) -> list[bytes]:
    """Return verbs as JSON arrays in order, each small enough for one frame; ``[b"[]"]`` for none.

    The first array is for the ack, the others are appended.

    Raises:
        TypeError: If one holds a value that JSON cannot.
        MessageTooBig: If one verb alone is too big.
    """
    array = dump(verbs, "verbs")
    if len(array) <= _SURELY_FITS_BYTES:
        return [array]
    return split_verbs([dump(verb, "verb") for verb in verbs])


def verb_list(result: object) -> list[dict[str, Any]]:
    """Return the verbs in ``result`` one by one; ``None`` is none.

    Raises:
        TypeError: If something in it is no verb.
    """
    if result is None:
        return []
    if type(result) is list:
        # The usual case by far, so it is looked at first and not copied.
        if all(type(verb) is dict and verb_name(verb) for verb in result):
            return result
    elif isinstance(result, str | bytes | Mapping) or not isinstance(result, Iterable) or _is_builder(result):
        return _verbs_of(result)
    return [verb for item in result for verb in _verbs_of(item)]


def verb_name(verb: Mapping[str, Any]) -> str:
    """Return the name of a verb, also of the short form ``{"say": {...}}`` (PROTOCOL.md 3.3); empty if it has none."""
    name = verb.get("verb")
    if isinstance(name, str):
        return name
    if len(verb) != 1 or name is not None:
        return ""
    # Of a text or a list jambonz makes properties "0", "1" and so on, and refuses the verb.
    ((name, properties),) = verb.items()
    return "" if isinstance(properties, str | list) else name


def vendor_in(verbs: Verbs) -> str:
    """Return the vendor of the last model among ``verbs``, ``AGENT`` for an agent, or empty if there is none."""
    vendor = ""
    for verb in verbs:
        name = verb_name(verb)
        if name in _VERBS_WITH_VENDOR:
            vendor = text_in(verb if "verb" in verb else mapping_in(verb, name), "vendor")
        elif name == AGENT:
            vendor = AGENT
        elif name.endswith(_SUFFIX):
            vendor = name.removesuffix(_SUFFIX)
    return vendor


def plain_verbs(fallback: object, what: str) -> tuple[dict[str, Any], ...]:
    """Return verbs that are kept, as JSON would give them back: no models inside, no builder that is empty once read.

    Raises:
        TypeError: If they are none, or hold a value that JSON cannot.
        MessageTooBig: If they do not fit into one ack.
    """
    array = dump(verb_list(fallback), what)
    if len(array) > MAX_VERBS_BYTES:
        raise MessageTooBig(what, len(array), MAX_VERBS_BYTES)
    return tuple(orjson.loads(array))


def dump(value: object, what: str) -> bytes:
    """Return ``value`` as JSON; models inside it are dumped by their aliases.

    Raises:
        TypeError: If JSON cannot hold it; the text begins with ``what``.
    """
    try:
        return orjson.dumps(value, default=_plain)
    except TypeError as error:
        raise TypeError(f"{what}: {error.__cause__ or error}") from None


def _verbs_of(item: object) -> list[dict[str, Any]]:
    if isinstance(item, Mapping):
        if not item:
            raise TypeError(f"{_EXPECTED}; got an empty dict")
        if not verb_name(item):
            raise TypeError(f"{_EXPECTED}; got a dict of {', '.join(map(repr, item))} without the name of a 'verb'")
        return [dict(item)]
    to_list = getattr(item, "to_list", None)
    if callable(to_list):
        return [verb for inner in to_list() for verb in _verbs_of(inner)]
    if isinstance(item, type) or not _is_builder(item):
        raise TypeError(f"{_EXPECTED}; got {_told(item)}")
    return _verbs_of(_plain(item))


def _told(item: object) -> str:
    if isinstance(item, list | tuple):
        return f"a {type(item).__name__} inside of the list: spread it, as in [*ask(), verb]"
    if isinstance(item, Coroutine):
        return "a coroutine that was not awaited: `return await ask()`"
    return type(item).__name__


def _is_builder(value: object) -> bool:
    return any(callable(getattr(value, name, None)) for name in ("to_list", "to_dict", "model_dump"))


def _plain(value: object) -> object:
    """Return a model as plain data, ``None`` members left out: jambonz refuses unknown and null ones."""
    model_dump = getattr(value, "model_dump", None)
    if callable(model_dump):
        return model_dump(mode="json", by_alias=True, exclude_none=True)
    for name in ("to_dict", "to_list"):
        method = getattr(value, name, None)
        if callable(method):
            return method()
    raise TypeError(f"a {type(value).__name__} cannot be written as JSON")
