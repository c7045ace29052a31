"""Which modules the wheel may hold compiled, and whether those that were imported are."""

import sys
import tomllib
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from tests.pure_modules import REPO, module_name

_TOOL: Final = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]
SOURCES: Final[list[Path]] = [
    REPO / path for path in _TOOL["hatch"]["build"]["targets"]["wheel"]["hooks"]["custom"]["modules"]
]


def not_compiled() -> list[str]:
    """Return the modules that are sources here, or not those of the running Python's own environment."""
    return [name for name in map(module_name, SOURCES) if not _is_compiled(name)]


def _is_compiled(name: str) -> bool:
    spec = find_spec(name)
    if spec is None or spec.origin is None or not isinstance(spec.loader, ExtensionFileLoader):
        return False
    return Path(spec.origin).is_relative_to(sys.prefix)
