"""How fast the messages of one account may come."""

import pytest

from jambonz_gateway.accounts import Accounts, Pace


def test_calls_of_an_account_share_its_rate() -> None:
    """A flood of many calls, each below its own limit, is a flood too."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    calls = [accounts.join("acme", 0.0) for _ in range(5)]
    quiet = accounts.join("zenith", 0.0)
    waits = [accounts.take(call, 0.0) for call in calls for _ in range(3)]
    assert waits[:10] == [0.0] * 10
    assert waits[10:] == [pytest.approx(0.1 * debt) for debt in range(1, 6)]
    assert accounts.take(quiet, 0.0) == 0.0


def test_account_that_is_alone_is_not_slowed_down() -> None:
    """Most clusters have one account; the process is all its own."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    call = accounts.join("acme", 0.0)
    assert {accounts.take(call, 0.0) for _ in range(1000)} == {0.0}
    accounts.join("zenith", 0.0)
    assert [accounts.take(call, 0.0) for _ in range(11)][-1] == pytest.approx(0.1)


def test_hanging_up_does_not_refill_a_bucket() -> None:
    """New calls of a flooding account begin where the old ones ended."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    accounts.join("zenith", 0.0)
    call = accounts.join("acme", 0.0)
    for _ in range(20):
        accounts.take(call, 0.0)
    accounts.leave(call, 0.0)
    assert accounts.take(accounts.join("acme", 0.0), 0.0) == pytest.approx(1.1)


def test_account_that_has_left_is_forgotten_when_its_bucket_is_full() -> None:
    """P8: nothing of it stays in the process."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    other = accounts.join("zenith", 0.0)
    call = accounts.join("acme", 0.0)
    accounts.take(call, 0.0)
    accounts.leave(call, 0.0)
    assert len(accounts) == 2
    accounts.leave(other, 0.2)
    assert len(accounts) == 0


def message_of(account: str) -> bytes:
    return b'{"type":"session:new","msgid":"m","data":{"call_sid":"c","account_sid":"%b"}}' % account.encode()


def test_first_message_of_a_connection_tells_its_account() -> None:
    """jambonz sends no account in the handshake (PROTOCOL.md 1.1)."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    loud, loud_too, quiet = (accounts.pace(0.0) for _ in range(3))
    assert quiet.take(message_of("zenith"), 0.0) == 0.0
    waits = [pace.take(message_of("acme"), 0.0) for _ in range(6) for pace in (loud, loud_too)]
    assert waits[10:] == [pytest.approx(0.1), pytest.approx(0.2)]
    assert loud.is_account_over
    assert quiet.take(b"whatever", 0.0) == 0.0
    assert not quiet.is_account_over


def test_limit_of_the_call_counts_beside_that_of_its_account() -> None:
    """The longer wait of both."""
    accounts = Accounts(call_rate=2, account_rate=1000, burst_s=1)
    pace = accounts.pace(0.0)
    accounts.pace(0.0).take(message_of("zenith"), 0.0)
    assert [pace.take(message_of("acme"), 0.0) for _ in range(3)][-1] == pytest.approx(0.5)
    assert not pace.is_account_over


def test_message_counts_by_its_size() -> None:
    """One call with messages of 1 MB would fill the Redis of all accounts, with a tenth of the messages it may send."""
    accounts = Accounts(call_rate=2000, account_rate=1500, burst_s=10)
    long, short = b'{"x":"%b"}' % (b"y" * 999_990), b'{"x":"%b"}' % (b"y" * 1000)
    pace = accounts.pace(0.0)
    waits = [pace.take(long, 0.0) for _ in range(21)]
    assert waits[:20] == [0.0] * 20
    assert waits[20] == pytest.approx((21 * 977 - 20_000) / 2000)
    pace = accounts.pace(0.0)
    assert [pace.take(short, 0.0) for _ in range(20_001)][-1] == pytest.approx(1 / 2000)
    accounts.pace(0.0).take(message_of("zenith"), 0.0)
    pace = accounts.pace(0.0)
    assert [pace.take(long, 0.0) > 0 for _ in range(16)][-1]
    assert pace.is_account_over


def test_message_counts_as_a_burst_at_most() -> None:
    """A low rate and a long message make a pause that the pings survive."""
    pace = Accounts(call_rate=10, account_rate=10, burst_s=10).pace(0.0)
    assert [pace.take(b"x" * 1_000_000, 0.0) for _ in range(2)] == [0.0, 10.0]


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"{}", id="no_data"),
        pytest.param(b'{"data":[]}', id="data_is_a_list"),
        pytest.param(b'{"data":{"account_sid":7}}', id="number"),
        pytest.param(b"not json", id="no_json"),
        pytest.param(message_of("x" * 65), id="too_long"),
    ],
)
def test_connections_that_tell_no_account_share_one(message: bytes) -> None:
    """Leaving it out is no way around the limit."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    accounts.pace(0.0).take(message_of("acme"), 0.0)
    paces: list[Pace] = [accounts.pace(0.0) for _ in range(11)]
    assert [pace.take(message, 0.0) for pace in paces][-1] == pytest.approx(0.1)
    for pace in paces:
        pace.end(0.0)
        pace.end(0.0)
    assert len(accounts) == 2


def test_account_names_that_are_too_long_are_not_kept() -> None:
    """P9: jambonz's are UUIDs; somebody else's must not fill the memory."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    for number in range(3):
        accounts.pace(0.0).take(message_of(f"{number:065}"), 0.0)
    assert len(accounts) == 1


def test_connection_leaves_its_account_however_much_it_has_said() -> None:
    """P8: accounts come and go for as long as the process lives."""
    accounts = Accounts(call_rate=1000, account_rate=10, burst_s=1)
    pace = accounts.pace(0.0)
    for _ in range(3):
        pace.take(message_of("acme"), 0.0)
    pace.end(1.0)
    assert len(accounts) == 0


def test_connection_that_never_said_anything_ends_without_a_trace() -> None:
    """Handshakes that fail have no account."""
    accounts = Accounts(call_rate=1, account_rate=10, burst_s=1)
    accounts.pace(0.0).end(0.0)
    assert len(accounts) == 0
