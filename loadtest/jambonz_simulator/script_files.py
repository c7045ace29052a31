"""Scripts by name or from a file."""

from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import orjson

from jambonz_simulator.core.script import Script
from jambonz_simulator.core.script_reading import ScriptError, read_script


def load_script(name_or_path: str) -> Script:
    """Load a built-in script by its name, or any script from a JSON file by its path.

    Raises:
        ScriptError: If there is none, or it is not a valid script; the message says why.
    """
    if name_or_path in built_in_scripts():
        text = (_folder() / f"{name_or_path}.json").read_bytes()
        return read_script(_json(text, name_or_path), name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        names = ", ".join(built_in_scripts())
        raise ScriptError(f"no script {name_or_path!r}: expected a JSON file or one of {names}")
    return read_script(_json(path.read_bytes(), name_or_path), path.stem)


def built_in_scripts() -> list[str]:
    """Give the names of the scripts that come with the simulator."""
    return sorted(item.name.removesuffix(".json") for item in _folder().iterdir() if item.name.endswith(".json"))


def _folder() -> Traversable:
    return resources.files("jambonz_simulator") / "scripts"


def _json(text: bytes, name: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise ScriptError(f"script {name!r}: not JSON: {error}") from None
