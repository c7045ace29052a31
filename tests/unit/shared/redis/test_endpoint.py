"""URLs are checked when they are given, and their secrets stay out of names."""

import pytest

from jambonz_shared.redis.connect import RedisCluster, backend_of, endpoint_of
from jambonz_shared.redis.endpoint import Address, UrlEndpoint
from jambonz_shared.redis.sentinel import SentinelEndpoint, SentinelUrl


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("redis://user:p%40ss@host:6379/2?socket_keepalive=yes", "redis://host:6379/2"),
        ("rediss://:secret@[::1]:6380", "rediss://[::1]:6380"),
        ("unix:///run/redis.sock?password=secret", "unix:///run/redis.sock"),
    ],
)
def test_name_holds_no_secret(url: str, name: str) -> None:
    """Names go to logs."""
    assert UrlEndpoint(url).name == name


@pytest.mark.parametrize("url", ["http://host", "host:6379", "redis://host?max_connections=many"])
def test_bad_url_is_refused_at_once(url: str) -> None:
    """A typing error must not look like a Redis that is down."""
    with pytest.raises(ValueError, match=r"Redis URL|max_connections"):
        UrlEndpoint(url)


def test_endpoint_is_chosen_by_the_scheme() -> None:
    """One setting, every kind of Redis."""
    assert isinstance(endpoint_of("rediss://host"), UrlEndpoint)
    assert isinstance(endpoint_of("redis+sentinel://host/calls"), SentinelEndpoint)


def test_sentinel_url_has_its_parts() -> None:
    """Password and options are those of the primary; Sentinels have a password of their own."""
    url = "rediss+sentinel://u:p%40@a,b:1,[::1]:2/calls/3?sentinel_password=s%26s&socket_keepalive=yes"
    parts = SentinelUrl.parse(url)
    assert parts.sentinels == (("a", 26379), ("b", 1), ("::1", 2))
    assert (parts.service, parts.sentinel) == ("calls", ("rediss://:s%26s@", "/0"))
    assert parts.primary == ("rediss://u:p%40@", "/3?socket_keepalive=yes")
    assert SentinelEndpoint(url).name == "redis+sentinel://a:26379,b:1,::1:2/calls"


@pytest.mark.parametrize(
    ("url", "sentinel"),
    [
        pytest.param("rediss+sentinel://a/calls?ssl_ca_certs=/ca&db=1", ("rediss://", "/0?ssl_ca_certs=/ca"), id="tls"),
        pytest.param("rediss+sentinel://a/calls?ssl_ca_certs=/ca&sentinel_tls=no", ("redis://", "/0"), id="tls_no"),
        pytest.param("redis+sentinel://u:p@a/calls?sentinel_password=s", ("redis://:s@", "/0"), id="plain"),
    ],
)
def test_sentinels_speak_tls_if_the_primary_does(url: str, sentinel: tuple[str, str]) -> None:
    """Their password would go over the network for all to read; the primary's is never sent to them."""
    assert SentinelUrl.parse(url).sentinel == sentinel


def test_misspelt_wish_for_plain_sentinels_is_refused() -> None:
    """What is sent in plain text is said clearly."""
    with pytest.raises(ValueError, match=r"sentinel_tls='off': expected no"):
        SentinelUrl.parse("rediss+sentinel://a/calls?sentinel_tls=off")


def test_short_sentinel_url_has_defaults() -> None:
    """Database 0, no login."""
    assert SentinelUrl.parse("redis+sentinel://a/calls").primary == ("redis://", "/0")


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://host", "redis+sentinel:///calls", "redis+sentinel://a,/calls", "redis://host/calls"],
    ids=["no_service", "no_host", "empty_host", "other_scheme"],
)
def test_bad_sentinel_url_is_refused_at_once(url: str) -> None:
    """As for any URL."""
    with pytest.raises(ValueError, match="Redis URL"):
        SentinelUrl.parse(url)


@pytest.mark.parametrize(
    "kind", ["redis://{}@host:1/0", "redis+sentinel://{}@host:1/calls", "redis+cluster://{}@host:1"]
)
@pytest.mark.parametrize("mark", ["/", "#", "?"])
@pytest.mark.parametrize("login", [":s3cr{}et", "user:s3cr{}et", "user:123{}et"])
def test_url_that_a_password_cuts_in_two_is_refused_without_the_password(kind: str, mark: str, login: str) -> None:
    """Operators paste passwords as they are, and what is said of the settings into tickets."""
    with pytest.raises(ValueError, match="percent-encode") as caught:
        backend_of(kind.format(login.format(mark)))
    assert not any(piece in str(caught.value) for piece in ("s3cr", "et@", "123"))
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(
    "url",
    ["redis+sentinel://:pa{x}s{{@host:1/calls", "redis+cluster://:pa{x}s{{@host:1"],
)
def test_braces_in_a_password_are_nothing_special(url: str) -> None:
    """A generated password may have any character."""
    backend = backend_of(url)
    if isinstance(backend, RedisCluster):
        endpoint = backend.topology.endpoint(Address("host", 1))
    else:
        endpoint = SentinelUrl.parse(url).primary_at("host:1")
    assert endpoint._options["password"] == "pa{x}s{{"


@pytest.mark.parametrize("start", ["redis://host/0", "redis+sentinel://host/calls", "redis+cluster://host"])
@pytest.mark.parametrize("option", ["nosuch=1", "max_connections=5", "ssl_ca_certs=/ca.pem"])
def test_option_that_no_connection_takes_is_refused_at_once(start: str, option: str) -> None:
    """Otherwise it is a Redis that never comes up."""
    with pytest.raises(ValueError, match=option.partition("=")[0]):
        backend_of(f"{start}?{option}")


def test_value_that_no_connection_takes_is_refused_at_once() -> None:
    """As any bad option."""
    with pytest.raises(ValueError, match="bogus"):
        backend_of("rediss://host?ssl_cert_reqs=bogus")
