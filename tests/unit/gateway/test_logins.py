"""Who may come in, and how often anybody may guess."""

import base64

import pytest

from jambonz_gateway import logins as module
from jambonz_gateway.logins import Denied, Granted, Logins, Unproven, Waiting
from jambonz_shared.credentials import Credential, SecretHash

SALT = bytes(16)
FEATURE_SERVER = "192.0.2.1"
STRANGER = "198.51.100.7"
PER_MINUTE = 10


def line(user: str, secret: str, *apps: str, log2_n: int = 0) -> Credential:
    return Credential(frozenset(apps or {"*"}), user, SecretHash.of(secret, SALT, log2_n=log2_n))


def logins_of(*lines: Credential) -> Logins:
    logins = Logins(b"key of this process", failures_per_minute=PER_MINUTE)
    logins.use(lines)
    return logins


def basic(user_and_secret: str) -> str:
    return "Basic " + base64.b64encode(user_and_secret.encode()).decode()


def comes(logins: Logins, header: str | None, address: str = FEATURE_SERVER, now_s: float = 0.0) -> Granted | Denied:
    """Ask, and prove what has to be proved."""
    login = logins.ask(header, address, now_s)
    assert not isinstance(login, Waiting)
    if not isinstance(login, Unproven):
        return login
    judged = logins.proved(login, login.prove(), now_s)
    assert judged is not None
    return judged


def unproven(logins: Logins, header: str) -> Unproven:
    login = logins.ask(header, FEATURE_SERVER, 0.0)
    assert isinstance(login, Unproven)
    return login


def test_without_credentials_everybody_is_let_in() -> None:
    """A cluster that somebody tries out on a laptop."""
    assert comes(logins_of(), None) == Granted()


def test_right_secret_opens_the_apps_of_its_lines() -> None:
    """A password may hold colons; only the first one separates. The scheme's name is in any case (RFC 7235)."""
    logins = logins_of(line("acme", "s3cret:with colon", "ivr"), line("acme", "s3cret:with colon", "shop"))
    header = basic("acme:s3cret:with colon")
    assert comes(logins, header) == Granted(frozenset({"ivr", "shop"}))
    assert comes(logins, header.replace("Basic", "basic")) == Granted(frozenset({"ivr", "shop"}))


def test_two_secrets_of_one_user_are_both_right() -> None:
    """So a secret is replaced without a gap: add the new line, change it in jambonz, take the old line away."""
    logins = logins_of(line("acme", "old", "ivr"), line("acme", "new", "ivr"))
    assert comes(logins, basic("acme:old")) == comes(logins, basic("acme:new")) == Granted(frozenset({"ivr"}))


def test_star_opens_all_apps() -> None:
    """Also those that are started later."""
    assert comes(logins_of(line("ops", "s", "*", "ivr")), basic("ops:s")) == Granted(None)


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param(basic("acme:wrong"), id="wrong_secret"),
        pytest.param(basic("acme:"), id="empty_secret"),
        pytest.param(basic("other:s3cret"), id="wrong_user"),
        pytest.param(basic("acme"), id="no_secret"),
        pytest.param(basic("acme:s3cret").replace("Basic", "Bearer"), id="other_scheme"),
        pytest.param("Basic not-base64!", id="no_base64"),
        pytest.param("Basic", id="scheme_only"),
        pytest.param("Basic ümläut", id="not_ascii"),
        pytest.param("Basic " + base64.b64encode(b"\xff\xfe:\xfd").decode(), id="not_utf8"),
    ],
)
def test_wrong_login_is_denied(authorization: str | None) -> None:
    """This is what keeps strangers out (PROTOCOL.md 8.2)."""
    assert comes(logins_of(line("acme", "s3cret")), authorization) is Denied.WRONG


def test_slow_hash_runs_once_per_credential() -> None:
    """Handshakes have 1.5 s (PROTOCOL.md 1.1), and an account has many calls."""
    logins = logins_of(line("acme", "chosen", log2_n=10))
    assert unproven(logins, basic("acme:chosen")).is_slow
    logins = logins_of(line("acme", "chosen", log2_n=10))
    assert comes(logins, basic("acme:chosen")) == Granted()
    assert logins.ask(basic("acme:chosen"), FEATURE_SERVER, 0.0) == Granted()
    assert logins.ask(basic("acme:chosen"), STRANGER, 0.0) == Granted()
    assert comes(logins, basic("acme:wrong")) is Denied.WRONG
    assert logins.ask(basic("acme:wrong"), FEATURE_SERVER, 0.0) is Denied.WRONG


def test_user_nobody_knows_takes_as_long_as_one_somebody_knows() -> None:
    """Otherwise the clock would tell which users there are."""
    slow = logins_of(line("acme", "chosen", log2_n=10), line("zenith", "made"))
    assert unproven(slow, basic("nobody:x")).candidates[0].hash.log2_n == 10
    assert not unproven(logins_of(line("acme", "made")), basic("nobody:x")).is_slow


def test_calls_of_an_account_that_come_at_once_are_one_login() -> None:
    """A gateway has died, and its thousand calls come to this one, which has not seen the account yet."""
    logins = logins_of(line("acme", "chosen", log2_n=10))
    first = unproven(logins, basic("acme:chosen"))
    others = [logins.ask(basic("acme:chosen"), FEATURE_SERVER, 0.0) for _ in range(1000)]
    assert others == [Waiting(first.fingerprint)] * 1000
    assert logins.proved(first, first.prove(), 0.0) == Granted()
    assert logins.ask(basic("acme:chosen"), FEATURE_SERVER, 0.0) == Granted()


def test_login_that_nobody_had_time_for_is_no_guess() -> None:
    """Too many hashes were waiting: the connection is reset, and jambonz comes again."""
    logins = logins_of(line("acme", "chosen", log2_n=10))
    for _ in range(PER_MINUTE + 1):
        logins.given_up(unproven(logins, basic("acme:chosen")), 0.0)
    assert comes(logins, basic("acme:chosen")) == Granted()


def test_guesses_are_limited_and_a_right_one_among_them_is_not_looked_at() -> None:
    """Brute force: after so many wrong secrets in a minute not even the right one is taken from there."""
    logins = logins_of(line("acme", "s3cret"))
    assert {comes(logins, basic(f"acme:{guess}"), STRANGER) for guess in range(PER_MINUTE)} == {Denied.WRONG}
    assert comes(logins, basic("acme:one-more"), STRANGER) is Denied.TOO_OFTEN
    assert comes(logins, basic("acme:s3cret"), STRANGER) is Denied.TOO_OFTEN
    assert comes(logins, basic("acme:s3cret"), STRANGER, now_s=6.1) == Granted()


def test_being_refused_does_not_prolong_the_wait() -> None:
    """Who has mistyped a secret and goes on calling is let in as soon as it is right and the minute is over."""
    logins = logins_of(line("acme", "s3cret"))
    for guess in range(1000):
        comes(logins, basic(f"acme:{guess}"))
    assert comes(logins, basic("acme:s3cret"), now_s=6.1) == Granted()


def test_same_wrong_secret_counts_once() -> None:
    """A misconfigured application calls all day: it hears 401, the truth, and uses up nothing."""
    logins = logins_of(line("acme", "s3cret"))
    assert {comes(logins, basic("acme:old"), now_s=0.0) for _ in range(1000)} == {Denied.WRONG}
    assert comes(logins, basic("acme:s3cret")) == Granted()


def test_who_has_been_let_in_is_not_locked_out_by_others_at_the_same_address() -> None:
    """All accounts of a feature server come from one address."""
    logins = logins_of(line("acme", "s3cret"))
    assert comes(logins, basic("acme:s3cret")) == Granted()
    for guess in range(1000):
        comes(logins, basic(f"acme:{guess}"))
    assert comes(logins, basic("acme:new-guess")) is Denied.TOO_OFTEN
    assert comes(logins, basic("acme:s3cret")) == Granted()


def test_guesses_for_one_user_do_not_count_against_another() -> None:
    """An account with a wrong secret in jambonz must not keep its neighbours out of a fresh gateway."""
    logins = logins_of(line("acme", "s3cret"), line("zenith", "other"))
    for guess in range(1000):
        comes(logins, basic(f"acme:{guess}"))
        comes(logins, basic(f"nobody-{guess}:x"))
    assert comes(logins, basic("nobody:x")) is Denied.TOO_OFTEN
    assert comes(logins, basic("zenith:other")) == Granted()


def test_right_secret_does_not_use_up_guesses() -> None:
    """Many feature servers in one network, many accounts, one gateway: only failures count."""
    logins = logins_of(line("acme", "s3cret"))
    for number in range(1000):
        assert comes(logins, basic("acme:s3cret"), f"2001:db8::{number % 50}") == Granted()


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        pytest.param("2001:db8::1", "2001:db8::ffff:0:0:1", True, id="one_ipv6_network"),
        pytest.param("2001:db8:0:1::1", "2001:db8:0:2::1", False, id="two_ipv6_networks"),
        pytest.param("192.0.2.1", "192.0.2.2", False, id="two_ipv4_addresses"),
        pytest.param("::ffff:192.0.2.1", "::ffff:192.0.2.2", False, id="two_ipv4_addresses_as_ipv6"),
        pytest.param("::ffff:192.0.2.1", "192.0.2.1", True, id="one_ipv4_address_told_in_two_ways"),
        pytest.param("", "", True, id="unix_socket"),
    ],
)
def test_source_is_an_ipv4_address_or_an_ipv6_network(first: str, second: str, is_same: bool) -> None:
    """One host has 2^64 IPv6 addresses to guess from."""
    logins = logins_of(line("acme", "s3cret"))
    for guess in range(PER_MINUTE):
        comes(logins, basic(f"acme:{guess}"), first)
    assert comes(logins, basic("acme:s3cret"), second) == (Denied.TOO_OFTEN if is_same else Granted())


def test_new_credentials_count_at_once_and_old_ones_no_more() -> None:
    """What was known of the old ones is forgotten."""
    logins = logins_of(line("acme", "old"))
    assert comes(logins, basic("acme:old")) == Granted()
    assert comes(logins, basic("acme:new")) is Denied.WRONG
    logins.use([line("acme", "new", "ivr")])
    assert comes(logins, basic("acme:old")) is Denied.WRONG
    assert comes(logins, basic("acme:new")) == Granted(frozenset({"ivr"}))


def test_login_proved_with_credentials_that_have_changed_meanwhile_is_asked_for_again() -> None:
    """Neither is a removed secret let in, nor a new one refused, because a hash took its time."""
    logins = logins_of(line("acme", "s3cret", log2_n=10))
    login = unproven(logins, basic("acme:s3cret"))
    logins.use([line("acme", "other")])
    assert logins.proved(login, login.prove(), 0.0) is None
    assert comes(logins, basic("acme:s3cret")) is Denied.WRONG


def test_tables_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attacker with many addresses makes the gateway forget, not grow."""
    monkeypatch.setattr(module, "_KNOWN_MAX", 100)
    logins = logins_of(line("acme", "s3cret"))
    for number in range(300):
        address = f"10.0.{number // 250}.{number % 250}"
        comes(logins, basic(f"acme:{number}"), address)
        comes(logins, basic("acme:s3cret"), address)
    assert len(logins._buckets) == len(logins._wrong) == len(logins._welcome) == 100
    assert logins.ask(basic("acme:299"), STRANGER, 0.0) is Denied.WRONG, "the oldest are forgotten"
