"""What mypyc compiles to something else than Python runs, most of it without a word, stays out of the compiled modules.

Source: "Differences from Python" and "Native classes" of mypyc's documentation, and what was found besides (ADR 0013).
"""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.compiled_modules import SOURCES

# These use up a generator expression where it stands, so that it makes no difference that mypyc makes a list of it.
CONSUMERS: Final = frozenset(
    {"all", "any", "dict", "extend", "frozenset", "join", "list", "max", "min", "next", "set", "sorted", "sum", "tuple"}
)
METHODS: Final = frozenset({"__del__", "__delattr__", "__getattr__", "__getattribute__", "__new__", "__setattr__"})


def hazards(source: str) -> Iterator[str]:
    """Yield what would run differently, with its line."""
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    consumed = {id(it) for node in nodes for it in consumed_by(node)}
    for node in nodes:
        match node:
            case ast.GeneratorExp() if id(node) not in consumed:
                yield f"{node.lineno}: a generator expression that is kept is a list"
            case ast.Assign(targets=[ast.Tuple(elts=targets)], value=ast.Tuple(elts=values)) if reads(targets, values):
                yield f"{node.lineno}: a value that reads a target to its left has the type of what that target gets"
            case ast.ExceptHandler(body=body) | ast.Try(finalbody=body) if any(map(waits, body)):
                yield f"{node.lineno}: while it waits in here, everybody else handles this exception, too"
            case ast.AsyncWith(items=items) if not all(map(is_timeout, items)):
                yield f"{node.lineno}: it may wait at its end, while an exception is handled"
            case ast.ClassDef() if "init=False" in ast.unparse(node).partition("class ")[0] and not sets_fields(node):
                yield f"{node.lineno}: __init__ does not take and set the fields in their order"
            case ast.ClassDef(body=body) if any(isinstance(it, ast.ClassDef) for it in body):
                yield f"{node.lineno}: a class in a class"
            case ast.Delete(targets=targets) if any(isinstance(target, ast.Attribute) for target in targets):
                yield f"{node.lineno}: an attribute cannot be deleted"
            case ast.FunctionDef(name=name) if name in METHODS:
                yield f"{node.lineno}: {name} is not called"


def waits(statement: ast.stmt) -> bool:
    waiting = ast.Await | ast.Yield | ast.YieldFrom | ast.AsyncFor | ast.AsyncWith
    return any(isinstance(node, waiting) for node in ast.walk(statement))


def is_timeout(item: ast.withitem) -> bool:
    """Whether its end never waits."""
    return ast.unparse(item.context_expr).startswith("asyncio.timeout(")


def consumed_by(node: ast.AST) -> list[ast.expr]:
    match node:
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=arguments) if name in CONSUMERS:
            return arguments
        case ast.Starred(value=value):
            return [value]
    return []


def reads(targets: list[ast.expr], values: list[ast.expr]) -> bool:
    """Whether a value reads a target that stands left of it: ``a, b = None, a``."""
    for number, value in enumerate(values):
        read = {ast.unparse(node) for node in ast.walk(value) if isinstance(node, ast.Name | ast.Attribute)}
        if read & {ast.unparse(target) for target in targets[:number]}:
            return True
    return False


def sets_fields(dataclass: ast.ClassDef) -> bool:
    """Whether its ``__init__`` does what that of ``dataclass`` would; nobody else finds a field that was forgotten."""
    fields = [ast.unparse(it.target) for it in dataclass.body if isinstance(it, ast.AnnAssign)]
    inits = [it for it in dataclass.body if isinstance(it, ast.FunctionDef) and it.name == "__init__"]
    taken = [argument.arg for init in inits for argument in init.args.args[1:]]
    targets = [ast.unparse(it.targets[0]) for init in inits for it in init.body if isinstance(it, ast.Assign)]
    return taken == fields and targets == [f"self.{name}" for name in fields]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_compiled_module_runs_as_its_source_does(path: Path) -> None:
    """Who edits it sees the sources run, and users its compiled form."""
    assert list(hazards(path.read_text())) == []


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("names = (f(n) for n in numbers)", id="kept_generator"),
        pytest.param("self.old, self.new = None, self.old", id="swap"),
        pytest.param("try:\n    a()\nexcept E:\n    await b()", id="await_in_except"),
        pytest.param("try:\n    a()\nfinally:\n    await b()", id="await_in_finally"),
        pytest.param("try:\n    a()\nfinally:\n    yield b", id="yield_in_finally"),
        pytest.param("async with asyncio.TaskGroup() as group:\n    a()", id="task_group"),
        pytest.param("class A:\n    class B:\n        pass", id="nested_class"),
        pytest.param("del self.name", id="deleted_attribute"),
        pytest.param("@dataclass(init=False)\nclass A:\n    a: int", id="no_init"),
        pytest.param(
            "@dataclass(init=False)\nclass A:\n    a: int\n    b: int\n    def __init__(self, a):\n        self.a = a",
            id="forgotten_field",
        ),
        pytest.param("class A:\n    def __del__(self):\n        pass", id="finalizer"),
    ],
)
def test_hazard_is_found(source: str) -> None:
    """The check itself can fail."""
    assert len(list(hazards(source))) == 1


def test_usual_code_is_no_hazard() -> None:
    """What looks alike and is harmless."""
    assert list(hazards("a, self.a = self.a, None\nb = any(x for x in y)\nc, d = e, f\ndel g['h']")) == []
    init = "    def __init__(self, a, b=0):\n        self.a = a\n        self.b = b"
    assert list(hazards(f"@dataclass(init=False)\nclass A:\n    a: int\n    b: int = 0\n{init}")) == []
