"""Key conversion of jambonz (PROTOCOL.md 2.1)."""

import pytest

from jambonz_simulator.core.keys import snake_case, snake_case_keys


@pytest.mark.parametrize(
    ("key", "converted"),
    [
        ("callSid", "call_sid"),
        ("call_sid", "call_sid"),
        ("X-FooBar", "x_foobar"),
        ("Content-Type", "content_type"),
        ("callSID", "call_s_i_d"),
        ("event:type", "event_type"),
        ("plain", "plain"),
        ("_customerData", "customerdata"),
        ("two Words", "two_words"),
        ("-", ""),
        ("ABC", "abc"),
    ],
)
def test_key_is_spelled_as_jambonz_does(key: str, converted: str) -> None:
    """A separator lower-cases without splitting the humps."""
    assert snake_case(key) == converted


def test_values_under_verbatim_keys_stay() -> None:
    verbatim = {"args": {"aB": 1}, "sip": {"X-Y": 1}, "env_vars": {"aB": 1}, "customerData": {"aB": 1}}
    assert snake_case_keys({"someKey": [{"innerKey": 1}], **verbatim}) == {"some_key": [{"inner_key": 1}], **verbatim}
