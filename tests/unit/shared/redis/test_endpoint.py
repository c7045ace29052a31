"""URLs are checked when they are given, and their secrets stay out of names."""

import pytest

from jambonz_shared.redis.endpoint import UrlEndpoint


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
