"""Finds the project's modules, those that call themselves pure, and what each imports."""

import ast
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

REPO: Final = Path(__file__).resolve().parent.parent
SOURCE_FOLDERS: Final = ("shared", "gateway", "workers", "cluster", "loadtest")
PACKAGES: Final = ("jambonz_shared", "jambonz_gateway", "jambonz_workers", "jambonz_cluster", "jambonz_simulator")

_SAYS_PURE: Final = re.compile(r"\bPure\b")


@dataclass(frozen=True, slots=True)
class Module:
    """One source file.

    Attributes:
        name: Dotted name.
        imports: Dotted names of all imports, wherever they stand; ``from a import b`` is ``a.b``.
        is_pure: Whether the first paragraph of its docstring says so.
    """

    name: str
    imports: frozenset[str]
    is_pure: bool


def settings() -> dict[str, Any]:
    """Return the section ``tool.jambonz-cluster`` of pyproject.toml."""
    tool: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())["tool"]["jambonz-cluster"]
    return tool


def module_name(path: Path) -> str:
    """Return the dotted name of a source file, given absolute or relative to the repository."""
    relative = path.relative_to(REPO) if path.is_absolute() else path
    parts = relative.with_suffix("").parts
    parts = parts[1:] if parts[0] in SOURCE_FOLDERS else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def read_module(path: Path) -> Module:
    """Return what a source file says about itself."""
    tree = ast.parse(path.read_text(), str(path))
    first_paragraph = (ast.get_docstring(tree) or "").partition("\n\n")[0]
    return Module(module_name(path), frozenset(imports_of(tree)), bool(_SAYS_PURE.search(first_paragraph)))


def imports_of(tree: ast.AST) -> Iterator[str]:
    """Yield every imported name; relative imports are not used in this project (ruff TID)."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def all_modules() -> dict[str, Module]:
    """Return every module of the project by its name."""
    paths = (path for folder in SOURCE_FOLDERS for path in (REPO / folder).rglob("*.py"))
    found = [read_module(path) for path in paths if module_name(path).split(".")[0] in PACKAGES]
    return {module.name: module for module in found}
