"""Which properties of verbs the simulator takes, as 0.9.8 does (PROTOCOL.md 11)."""

from typing import Any

import pytest

from jambonz_simulator.core.properties import KNOWN_PROPERTIES
from jambonz_simulator.core.verbs import ALIASES, REQUIRED_PROPERTIES, InvalidVerbs, read_verbs
from jambonz_workers.capabilities import COMMERCIAL_PROPERTIES
from jambonz_workers.verb_schemas import _properties, _verb
from tests.unit.simulator.stage import GATHER, Stage

# Of 0.9.x only, so that the schemas do not have them.
ONLY_OLD = {"listen": {"auth"}}
NEWER = {**COMMERCIAL_PROPERTIES, "llm": COMMERCIAL_PROPERTIES["llm"] | {"cancelOnBargeIn", "cancelOnResponseTimeout"}}


@pytest.mark.parametrize("verb", sorted(REQUIRED_PROPERTIES.keys() - {"lex", "rasa"}))
def test_known_properties_are_those_of_the_schemas(verb: str) -> None:
    """A property that is missing here makes the simulator refuse what jambonz takes."""
    in_schema = _properties(_verb(verb)).keys() - NEWER.get(verb, frozenset())
    assert KNOWN_PROPERTIES[verb] == in_schema | ONLY_OLD.get(verb, set())
    assert set(REQUIRED_PROPERTIES[verb]) <= KNOWN_PROPERTIES[verb]


@pytest.mark.parametrize(
    ("verb", "unknown"),
    [
        pytest.param({"verb": "say", "txt": "Hi"}, "say: unknown property 'txt'", id="misspelt"),
        pytest.param({"gather": {"action_hook": "/menu"}}, "gather: unknown property 'action_hook'", id="short_form"),
        pytest.param({"verb": "dial", "target": [], "codecs": []}, "dial: unknown property 'codecs'", id="newer"),
        pytest.param({"verb": "stream", "url": "x", "x": 1}, "listen: unknown property 'x'", id="alias"),
    ],
)
def test_unknown_property_is_refused(verb: dict[str, Any], unknown: str) -> None:
    """Pitfall 21: without a word to the application but a caller who hears 480, or silence."""
    with pytest.raises(InvalidVerbs, match=unknown):
        read_verbs([verb])
    stage = Stage().start()
    stage.ack(stage.last(), [*GATHER, verb])
    assert (stage.outcome, stage.anomalies()) == ("rejected", ["call_rejected"])


def test_aliases_take_what_they_stand_for() -> None:
    for alias, (verb, _) in ALIASES.items():
        assert read_verbs([{"verb": alias, **dict.fromkeys(KNOWN_PROPERTIES[verb] - {"verb"}, "x")}])
