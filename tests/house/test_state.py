"""No module keeps state: an App owns it, so that two Apps in one process share nothing.

What counts as a constant: an UPPER_CASE name that is declared Final, or whose value cannot change. Memory of a pure function
(functools.cache) is not state, as nobody can tell whether it is there.
"""

import ast
from collections.abc import Iterator
from functools import cache

import pytest

# The two slots that the design allows, as (module, name): the default App, and the weak intern table of signatures.
SLOTS = frozenset({("dspex.app.app", "default_app"), ("dspex.program.compiled", "_interned")})

CONTAINERS = frozenset(
    "list dict set bytearray defaultdict deque Counter OrderedDict ChainMap SimpleNamespace count cycle Queue SimpleQueue "
    "WeakKeyDictionary WeakValueDictionary WeakSet Lock RLock Event Condition Semaphore local".split()
)
DISPLAYS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp)


def module_level(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Statements that run when the module is imported, those in `if`, `try` and `with` included."""
    for statement in body:
        yield statement
        for block in ("body", "orelse", "finalbody"):
            if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield from module_level(getattr(statement, block, []))
        for handler in getattr(statement, "handlers", []):
            yield from module_level(handler.body)


def called(value: ast.expr) -> str:
    """The last part of the name that a call calls, or nothing."""
    if not isinstance(value, ast.Call):
        return ""
    return value.func.attr if isinstance(value.func, ast.Attribute) else getattr(value.func, "id", "")


def is_final(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.AnnAssign) and "Final" in ast.unparse(statement.annotation)


def is_state(value: ast.expr, own_classes: set[str]) -> bool:
    """A container, a lock, a counter, or an object of a class of the same module (a slot in disguise)."""
    return isinstance(value, DISPLAYS) or called(value) in CONTAINERS | own_classes


def holds_nothing(node: ast.ClassDef) -> bool:
    """True for a class that declares `__slots__ = ()`."""
    return any(ast.unparse(statement) == "__slots__ = ()" for statement in node.body)


def assigned(tree: ast.Module) -> Iterator[str]:
    own_classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef) and not holds_nothing(node)}
    for statement in module_level(tree.body):
        if not isinstance(statement, ast.Assign | ast.AnnAssign) or statement.value is None:
            continue
        targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
        for name in (target.id for target in targets if isinstance(target, ast.Name)):
            constant = name.isupper() and (is_final(statement) or called(statement.value) in own_classes)
            if not name.startswith("__") and not constant and is_state(statement.value, own_classes):
                yield name


def rebound(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            yield from node.names


def state(sources: dict[str, str]) -> set[tuple[str, str]]:
    """(module, name) of all that is held at module level and can change."""
    return {(module, name) for module, source in sources.items() for name in kept(source)}


@cache
def kept(source: str) -> tuple[str, ...]:
    """Names of what a source text holds at module level."""
    tree = ast.parse(source)
    return (*assigned(tree), *rebound(tree))


def test_no_module_keeps_state_but_the_two_slots(sources):
    found = state(sources) - SLOTS
    assert not found


def test_a_slot_that_is_gone_leaves_the_list_too(sources):
    assert len(SLOTS) <= 2
    gone = SLOTS - state(sources)
    assert not gone


@pytest.mark.parametrize(
    "source",
    [
        "seen = []",
        "TABLE = {}",
        "table: dict[str, int] = dict()",
        "lock = threading.Lock()",
        "try:\n    seen = set()\nexcept ImportError:\n    pass",
        "class Slot:\n    pass\nslot = Slot()",
        "def f():\n    global current\n    current = 1",
    ],
)
def test_state_is_seen(source):
    assert state({"dspex.core.thing": source})


@pytest.mark.parametrize(
    "source",
    [
        "NAMES = ('a', 'b')",
        "KINDS: Final = {'a': 1}",
        "KINDS = frozenset({'a'})",
        "KINDS = MappingProxyType({'a': 1})",
        "__all__ = ['a']",
        "current = ContextVar('current')",
        "class Unset:\n    pass\nUNSET = Unset()",
        "class Proxy:\n    __slots__ = ()\nsettings = Proxy()",
        "def f():\n    seen = []",
    ],
)
def test_a_constant_is_not_state(source):
    assert not state({"dspex.core.thing": source})
