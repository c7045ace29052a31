"""Which app takes a path, from the manifests workers publish."""

from typing import Any

import orjson
import pytest

from jambonz_gateway.apps import DEFAULT_APP, Apps, KnownApp, app_of, apps_at_any_path
from jambonz_gateway.owed import Fallbacks
from jambonz_shared.errors import BadFormat
from jambonz_shared.manifest import Manifest
from jambonz_shared.wire import MAX_MESSAGE_BYTES


def manifest(**changes: Any) -> bytes:
    plain: dict[str, Any] = {
        "version": 1,
        "app": "ivr",
        "paths": ["/", "/menu/{step}"],
        "open": False,
        "env": {"GREETING": {"type": "string", "description": "hello"}},
        "fallback": None,
        "hooks": {},
    }
    return orjson.dumps(plain | changes)


def read(raw: bytes) -> KnownApp:
    return app_of(Manifest.decode(raw))


def app(name: str, *paths: str, takes_any_path: bool = False) -> KnownApp:
    return read(manifest(app=name, paths=paths, open=takes_any_path))


def found(apps: Apps, path: str) -> str | None:
    known = apps.find(path)
    return known.name if known else None


def test_manifest_is_read() -> None:
    """All that the gateway knows of an app comes from here."""
    known = read(
        manifest(fallback=[{"verb": "hangup"}], hooks={"/wait": {"late": "drop", "fallback": [{"verb": "pause"}]}})
    )
    assert known.name == "ivr"
    assert known.env == {"GREETING": {"type": "string", "description": "hello"}}
    assert known.fallbacks.start_verbs == b'[{"verb":"hangup"}]'
    assert known.fallbacks.of_hook("/wait") == known.fallbacks.of_hook("wss://x/ivr/wait") == b'[{"verb":"pause"}]'


def test_app_without_wishes_gets_ours() -> None:
    """A policy may be about late answers only; then the fallback is the gateway's own."""
    known = read(manifest(hooks={"/wait": {"late": "drop", "fallback": None}}))
    assert known.fallbacks == Fallbacks(app="ivr")


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"no json", id="no_json"),
        pytest.param(b"[]", id="no_object"),
        pytest.param(b"{}", id="empty"),
        pytest.param(manifest(version=2), id="other_version"),
        pytest.param(manifest(paths=None), id="paths_missing"),
        pytest.param(manifest(hooks=[]), id="hooks_of_another_type"),
        pytest.param(manifest(hooks={"/x": None}), id="policy_of_another_type"),
        pytest.param(manifest(env=7), id="env_of_another_type"),
        pytest.param(manifest(paths=[7]), id="path_that_is_no_text"),
    ],
)
def test_manifest_that_cannot_be_read_is_an_error_with_a_name(raw: bytes) -> None:
    """A worker of another version, or somebody's hand in Redis."""
    with pytest.raises(BadFormat):
        read(raw)


TOO_BIG = [{"verb": "say", "text": "x" * MAX_MESSAGE_BYTES}]
GOOD = [{"verb": "hangup"}]


@pytest.mark.parametrize(
    ("bad", "fault"),
    [
        pytest.param({"verb": "hangup"}, "to be a list of verbs, got a dict", id="no_list"),
        pytest.param("hangup", "to be a list of verbs, got a str", id="text"),
        pytest.param(TOO_BIG, "to have at most", id="too_big"),
    ],
)
def test_fallback_that_cannot_be_sent_is_left_out_and_the_app_stays(bad: object, fault: str) -> None:
    """P10: it must fit into a message. What is said only if no worker answers must not take the app's calls away."""
    hooks = {"/bad": {"late": "drop", "fallback": bad}, "/good": {"late": "drop", "fallback": GOOD}}
    found = Manifest.decode(manifest(fallback=bad, hooks=hooks))
    assert found.fallback is None
    assert found.hooks == {"/bad": ("drop", None), "/good": ("drop", tuple(GOOD))}
    assert [fault in it for it in found.faults] == [True, True]
    assert [of in it for of, it in zip(("calls", "/bad"), found.faults, strict=True)] == [True, True]
    app = app_of(found)
    assert app.fallbacks.start_verbs == Fallbacks().start_verbs
    assert (app.fallbacks.of_hook("/bad"), app.fallbacks.of_hook("/good")) == (None, orjson.dumps(GOOD))


def test_error_of_a_manifest_shows_no_content() -> None:
    """Environment variables may carry secrets as defaults."""
    with pytest.raises(BadFormat) as caught:
        read(manifest(paths=None, env={"TOKEN": {"default": "s3cret"}}))
    assert "s3cret" not in str(caught.value)


def test_every_path_is_taken_while_no_manifest_is_known() -> None:
    """A fresh cluster, or Redis away at the start: a call that waits is better than a 480."""
    assert found(apps_at_any_path(None), "/anything") == DEFAULT_APP


def test_unknown_cluster_takes_a_call_for_the_app_its_login_is_for() -> None:
    """The fallback is heard, and its events wait where a worker of that app will look."""
    assert found(apps_at_any_path({"shop", "ivr"}), "/shop/anything") == "shop"
    assert found(apps_at_any_path({"shop"}), "/anything") == "shop"


def test_login_decides_between_apps_with_the_same_path() -> None:
    """Two accounts with the same application each reach their own."""
    apps = Apps([app("acme", "/ivr"), app("zenith", "/ivr")])
    names = [known.name for login in ("acme", "zenith") if (known := apps.find("/ivr", {login}))]
    assert names == ["acme", "zenith"]
    assert apps.find("/ivr", {"other"}) is None
    assert apps.find("/acme/ivr", {"zenith"}) is None
    assert found(Apps(), "/anything") is None, "the gateway asks Redis first, and only then takes any path"
    assert not Apps()


def test_app_without_a_manifest_has_no_wishes() -> None:
    """Its calls get the gateway's own fallbacks."""
    assert Apps([app("ivr", "/")]).named("new") == KnownApp("new")


@pytest.mark.parametrize(
    ("path", "name"),
    [
        pytest.param("/", "default", id="root"),
        pytest.param("/menu/7", "default", id="variable"),
        pytest.param("/menu", None, id="too_short"),
        pytest.param("/menu/7/8", None, id="too_long"),
        pytest.param("/menu/7/adulting", "default", id="adulting"),
        pytest.param("/adulting/adulting", "default", id="adulting_twice_at_the_root"),
        pytest.param("/menu/7//adulting/", "default", id="adulting_behind_a_slash"),
        pytest.param("/menu/7/", "default", id="trailing_slash"),
        pytest.param("//", "default", id="nothing_but_slashes"),
        pytest.param("/%6Denu/7", "default", id="percent_encoded"),
        pytest.param("/gr%C3%BC%C3%9Fe", "default", id="not_ascii"),
        pytest.param("/sales", "sales", id="first_segment_names_the_app"),
        pytest.param("/s%61les/direct/", "sales", id="percent_encoded_app"),
        pytest.param("/sales/direct", "sales", id="session_below_the_app"),
        pytest.param("/sales/sales/whole", "sales", id="session_that_begins_with_the_app_s_name"),
        pytest.param("/sales/nothing", None, id="app_without_that_session"),
        pytest.param("/direct", None, id="not_the_default_app_s"),
        pytest.param("*", None, id="no_path_at_all"),
    ],
)
def test_path_finds_its_app(path: str, name: str | None) -> None:
    """One gateway serves many apps; jambonz knows only URLs."""
    apps = Apps([app("default", "/", "/menu/{step}", "/grüße"), app("sales", "/", "/direct", "/sales/whole")])
    assert found(apps, path) == name


def test_dots_in_paths_are_dots() -> None:
    """Paths are no regular expressions."""
    apps = Apps([app("default", "/v1.0")])
    assert found(apps, "/v1.0") == "default"
    assert found(apps, "/v1x0") is None


def test_open_app_takes_any_path() -> None:
    """A handler for session:new at large."""
    assert found(Apps([app("default", takes_any_path=True)]), "/whatever/it/is") == "default"


def test_only_app_needs_no_name_in_the_url() -> None:
    """The usual case: one app, whatever it is called."""
    apps = Apps([app("ivr", "/call")])
    assert found(apps, "/call") == "ivr"
    assert "ivr" in apps
    assert "other" not in apps
