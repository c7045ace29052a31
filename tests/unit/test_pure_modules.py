"""Pure modules stay pure: what they may import is checked, not promised."""

import ast
import sys

import pytest

from tests.pure_modules import PACKAGES, Module, all_modules, imports_of, settings

MODULES = all_modules()
PURE = sorted((module for module in MODULES.values() if module.is_pure), key=lambda module: module.name)
RULES = settings()["pure"]


def is_below(name: str, parents: list[str]) -> bool:
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def refused_imports(module: Module, modules: dict[str, Module]) -> list[str]:
    """Return the imports that a pure module may not have."""
    return sorted(name for name in module.imports if not may_import(name, modules))


def may_import(name: str, modules: dict[str, Module]) -> bool:
    root = name.split(".", maxsplit=1)[0]
    if root in PACKAGES:
        # ``from package import module`` names the module, ``from module import name`` something inside one.
        target = modules.get(name) or modules.get(name.rpartition(".")[0])
        return target is not None and target.is_pure
    if root in sys.stdlib_module_names:
        return not is_below(name, RULES["forbidden"])
    return root in RULES["libraries"]


@pytest.mark.parametrize("module", PURE, ids=lambda module: module.name)
def test_pure_module_imports_nothing_that_touches_the_world(module: Module) -> None:
    """Time, randomness and ids are arguments, so every state can be tested without a socket or a sleep."""
    assert refused_imports(module, MODULES) == []


@pytest.mark.parametrize("name", RULES["required"])
def test_module_that_must_be_pure_says_so(name: str) -> None:
    """Losing the word would also lose the checks."""
    below = [module for module in MODULES.values() if is_below(module.name, [name])]
    assert below, f"{name} does not exist"
    assert [module.name for module in below if not module.is_pure] == []


def module_importing(*names: str) -> Module:
    return Module("jambonz_shared.sample", frozenset(names), is_pure=True)


@pytest.mark.parametrize(
    "name",
    ["time", "random.random", "asyncio", "redis.asyncio.Redis", "urllib.request.urlopen", "jambonz_cluster.dev.Dev"],
)
def test_impure_import_is_found(name: str) -> None:
    """The check itself can fail."""
    assert refused_imports(module_importing(name, "json", "orjson"), MODULES) == [name]


def test_imports_inside_functions_count() -> None:
    """Hiding an import does not make a module pure."""
    tree = ast.parse("def f():\n    import time\n    from os.path import join\n")
    assert sorted(imports_of(tree)) == ["os.path.join", "time"]
