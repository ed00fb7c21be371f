"""How the package is built: imports without circles, sizes, tasks with owners, no state in modules.

Each list of exceptions is exact: what is listed and no longer an exception fails its test.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter

import pytest

import tmpnb_py
from tmpnb_py.core.installation import PACKAGE

MAX_LINES = 60
MAX_COLLABORATORS = 8

# Functions of more lines, each with its reason.
LONG_FUNCTIONS: dict[str, str] = {}
# Constructors with more parameters, each with its reason.
WIDE_CONSTRUCTORS: dict[str, str] = {}
# Where a task is begun by other means than `Tasks.start` and a TaskGroup, each with its reason.
TASKS_WITHOUT_OWNER = {
    "core.tasks": "the owner itself",
    "engines.docker.engine": "a creation that must not be cut off is awaited where it is begun",
    "images.build": "a process's start that must not be cut off is awaited where it is begun",
}
# What two services in one process would share, each with the reason why that does no harm.
SHARED_STATE: dict[str, str] = {}

_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def _modules() -> dict[str, ast.Module]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = ast.parse(path.read_text())
    return found


MODULES = _modules()


def _short(module: str) -> str:
    return module.removeprefix(f"{tmpnb_py.__name__}.")


# --- what files import


def test_no_files_import_each_other_in_a_circle() -> None:
    """What is imported for types only counts, too."""
    graph = {name: set(_imported(tree)) - {tmpnb_py.__name__} for name, tree in MODULES.items()}
    assert "tmpnb_py.proxy.exchange" in graph["tmpnb_py.proxy.client"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == tmpnb_py.__name__:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


# --- sizes


def test_functions_are_of_a_size() -> None:
    long = {
        f"{_short(module)}.{name}"
        for module, tree in MODULES.items()
        for name, node in _functions(tree)
        if (node.end_lineno or 0) - node.lineno >= MAX_LINES
    }
    assert long == LONG_FUNCTIONS.keys()


def test_constructors_are_of_a_size() -> None:
    """A constructor's parameters are what a class works with: at most eight.

    Of a dataclass they are its fields without a default. One that is frozen is a value: its fields are what it is, so
    it may have any number (the next test sees to it that no bag of services passes for a value).
    """
    wide = set()
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and _collaborators(node) > MAX_COLLABORATORS:
                wide.add(f"{_short(module)}.{node.name}")
    assert wide == WIDE_CONSTRUCTORS.keys()


def test_values_hold_no_services() -> None:
    """A frozen dataclass with many fields has no field that is a class of ours with behaviour over time."""
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef) and _is_frozen(node):
                fields = [one for one in node.body if isinstance(one, ast.AnnAssign)]
                kinds = {ast.unparse(one.annotation) for one in fields}
                if len(fields) > MAX_COLLABORATORS:
                    assert not kinds & _services(), f"{module}.{node.name}"


def _services() -> set[str]:
    """Our classes that do something by themselves: they have a coroutine method."""
    return {
        node.name
        for tree in MODULES.values()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and any(isinstance(one, ast.AsyncFunctionDef) for one in node.body)
    }


def _functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield from ((f"{node.name}.{one.name}", one) for one in node.body if isinstance(one, _FUNCTIONS))
    yield from ((node.name, node) for node in tree.body if isinstance(node, _FUNCTIONS))


def _collaborators(node: ast.ClassDef) -> int:
    for one in node.body:
        if isinstance(one, _FUNCTIONS) and one.name == "__init__":
            args = one.args
            return len(args.posonlyargs) + len(args.args) + len(args.kwonlyargs) - 1
    if not _is_dataclass(node) or _is_frozen(node):
        return 0
    return sum(isinstance(one, ast.AnnAssign) and one.value is None for one in node.body)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in ast.unparse(one) for one in node.decorator_list)


def _is_frozen(node: ast.ClassDef) -> bool:
    return any("frozen=True" in ast.unparse(one) for one in node.decorator_list)


# --- tasks


def test_tasks_have_an_owner() -> None:
    """`core.tasks.Tasks` names them, keeps them alive and ends them; so does a TaskGroup, always called `group`."""
    found = set()
    for module, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                owner = ast.unparse(node.func.value).rpartition(".")[2].lstrip("_")
                bare = node.func.attr == "create_task" and owner != "group"
                if bare or node.func.attr == "ensure_future":
                    found.add(_short(module))
    assert found == TASKS_WITHOUT_OWNER.keys()


# --- state

_MADE_TO_BE_FILLED = {"dict", "list", "set", "defaultdict", "OrderedDict", "Counter", "deque", "count", "ContextVar"}
_MADE_TO_BE_FILLED |= {
    "WeakKeyDictionary",
    "WeakValueDictionary",
    "WeakSet",
    "Lock",
    "Event",
    "Semaphore",
    "Condition",
}
_OF_THIS_PROCESS = {"token_bytes", "token_hex", "token_urlsafe", "urandom", "uuid4", "getpid", "monotonic", "time"}
_CHANGES = {"add", "append", "appendleft", "clear", "discard", "extend", "insert", "pop", "popitem", "remove"}
_CHANGES |= {"setdefault", "update"}
_VALUES = {"NamedTuple", "Enum", "StrEnum", "IntEnum"}


def test_no_module_has_state() -> None:
    """So that two services in one process know nothing of each other.

    State is what functions change, what is made empty in order to be filled, an instance of a class of ours that is
    not frozen, and what differs from one process to the next. Tables that nobody changes are none; nor are the
    memories of `functools`: they hold what follows from a function's arguments alone.
    """
    classes = [node for tree in MODULES.values() for node in tree.body if isinstance(node, ast.ClassDef)]
    values = {node.name for node in classes if _is_value(node)}
    mutable = {node.name for node in classes} - values
    found = {f"{_short(module)}.{name}" for module, tree in MODULES.items() for name in _state(tree, mutable)}
    assert found == SHARED_STATE.keys()


def _is_value(node: ast.ClassDef) -> bool:
    return _is_frozen(node) or any(ast.unparse(base).rpartition(".")[2] in _VALUES for base in node.bases)


def _state(tree: ast.Module, mutable: set[str]) -> Iterator[str]:
    names = {}
    for node in tree.body:
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names.update({ast.unparse(target): node.value for target in targets})
    yield from (name for name, value in names.items() if not name.startswith("__") and _may_change(value, mutable))
    for function in ast.walk(tree):
        if isinstance(function, _FUNCTIONS):
            yield from _changed(function) & names.keys()


def _may_change(value: ast.expr, mutable: set[str]) -> bool:
    if isinstance(value, ast.List | ast.Dict | ast.Set):
        return ast.unparse(value) in ("[]", "{}")
    for node in ast.walk(value):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            if called in mutable or called in _OF_THIS_PROCESS or (called in _MADE_TO_BE_FILLED and not node.args):
                return True
    return False


def _changed(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """The names whose content a function changes, or that it assigns as globals, but for those of its own."""
    own = {one.arg for one in ast.walk(function.args) if isinstance(one, ast.arg)}
    changed = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            changed.update(node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            own.add(node.id)
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Store | ast.Del):
            changed.add(ast.unparse(node.value))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _CHANGES:
            changed.add(ast.unparse(node.func.value))
    return changed - own
