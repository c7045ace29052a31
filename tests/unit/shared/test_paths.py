"""Paths of URLs and hooks, which come from whoever has a websocket."""

import time

import pytest

from jambonz_shared.paths import hook_paths, shown_hook


@pytest.mark.parametrize(
    "hook",
    [
        pytest.param("a" * 24_000, id="letters"),
        pytest.param("a" * 1_000_000, id="more_letters"),
        pytest.param("ws://x" + "/adulting" * 2_600, id="adulting"),
        pytest.param("ws://x" + "/adulting" * 110_000, id="more_adulting"),
    ],
)
def test_a_long_hook_takes_no_longer_than_its_length(hook: str) -> None:
    """P9: looked up by the gateway, too; one message with 1 MB of letters held up all its calls for half an hour."""
    before_s = time.process_time()
    hook_paths(hook, "default")
    assert time.process_time() - before_s < 0.5


def test_a_url_within_a_hook_is_part_of_its_path() -> None:
    """Where it begins there is a scheme, and nowhere else."""
    assert hook_paths("/proxy/http://other/x", "default") == ["/proxy/http://other/x"]


@pytest.mark.parametrize(
    ("hook", "shown"),
    [
        ("/menu/2", "/menu/2"),
        ("/menu?pin=1234#x", "/menu"),
        ("wss://user:secret@host/menu", "/menu"),
        ("/" + "x" * 1000, "/" + "x" * 199),
        ("", ""),
    ],
    ids=["path", "query", "login", "long", "none"],
)
def test_logs_show_the_beginning_of_a_hooks_path(hook: str, shown: str) -> None:
    """A query may hold what a caller has pressed, and 1 MB of hook would be 1 MB of log."""
    assert shown_hook(hook) == shown
