"""What workers write of their app is what gateways read."""

from jambonz_shared.manifest import Manifest


def test_manifest_comes_back_as_it_was() -> None:
    """Both sides share the one form."""
    manifest = Manifest(
        "ivr",
        ("/", "/menu/{step}"),
        True,
        {"GREETING": {"type": "string", "description": "hello"}},
        ({"verb": "hangup"},),
        {"/wait": ("drop", ({"verb": "pause"},)), "/late": ("drop", None)},
    )
    assert Manifest.decode(manifest.encode()) == manifest
    assert Manifest.decode(Manifest("plain").encode()) == Manifest("plain")
