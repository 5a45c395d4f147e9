"""The kernel's packages are floors: an import goes to the own floor or below, and never in a ring.

Imports inside functions and under TYPE_CHECKING count: moved there, a ring is hidden and not gone.
"""

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter

import pytest

FLOORS = ("core", "runtime", "plugin", "service", "app", "program", "evaluate", "engine")
TOP = len(FLOORS)
ON_TOP = ("testing", "cli")
DSPY_PATHS = tuple(
    "adapters clients datasets dsp predict primitives retrievers signatures streaming teleprompt utils".split()
)  # thin, on the top floor


def floor(module: str) -> int:
    """0 is the lowest. Modules directly in dspex/, as `dspex.streaming`, stand on the top floor."""
    package = module.split(".")[1]
    return FLOORS.index(package) if package in FLOORS else TOP


@cache
def imports(source: str) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """All import statements of a source text."""
    return tuple(node for node in ast.walk(ast.parse(source)) if isinstance(node, (ast.Import, ast.ImportFrom)))


def imported(source: str, modules: set[str]) -> set[str]:
    """The modules of dspex that a source text imports; `from dspex.core import clock` imports the module `clock`."""
    names = set()
    for node in imports(source):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif node.module and not node.level:
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= (whole & modules) or {node.module}
    return {name for name in names if name.split(".")[0] == "dspex"}


def going_up(sources: dict[str, str]) -> list[str]:
    """Imports from a floor above the importer's own."""
    return [
        f"{module} (floor {floor(module)}) imports {name} (floor {floor(name)})"
        for module, source in sources.items()
        for name in sorted(imported(source, set(sources)))
        if module != "dspex" and name != "dspex" and floor(name) > floor(module)
    ]


def of_the_root(sources: dict[str, str]) -> list[str]:
    """Modules inside that import the facade, which imports them all."""
    return [
        module for module, source in sources.items() if module != "dspex" and "dspex" in imported(source, set(sources))
    ]


def ring(sources: dict[str, str]) -> list[str]:
    """One ring of modules that import each other, first and last the same, or nothing."""
    edges = {
        module: imported(source, set(sources)) - {module} for module, source in sources.items() if module != "dspex"
    }
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def relative(sources: dict[str, str]) -> list[str]:
    """Modules with a relative import, which the other checks do not see."""
    return [
        module
        for module, source in sources.items()
        if any(isinstance(node, ast.ImportFrom) and node.level for node in imports(source))
    ]


def test_every_package_has_a_floor(sources):
    packages = {name.split(".")[1] for name in sources if name.count(".") > 1}
    assert packages <= {*FLOORS, *ON_TOP, *DSPY_PATHS}, (
        "a new package needs its place in FLOORS and in docs/architecture.md"
    )


def test_a_module_imports_only_from_its_own_floor_or_below(sources):
    found = going_up(sources)
    assert not found


def test_no_module_inside_imports_the_root_package(sources):
    found = of_the_root(sources)
    assert not found


def test_no_modules_import_each_other_in_a_ring(sources):
    found = ring(sources)
    assert not found


def test_imports_are_absolute(sources):
    found = relative(sources)
    assert not found


UPWARDS = "from dspex.app.settings import x"


@pytest.mark.parametrize(
    "source",
    [UPWARDS, "import dspex.app.settings", f"def f():\n    {UPWARDS}", f"if TYPE_CHECKING:\n    {UPWARDS}"],
    ids=["from", "import", "late", "type-only"],
)
def test_an_import_that_goes_up_is_seen(source):
    assert going_up({"dspex.core.clock": source, "dspex.app.settings": ""})


@pytest.mark.parametrize("source", ["import dspex", "from dspex import LM"])
def test_an_import_of_the_root_is_seen(source):
    assert of_the_root({"dspex": "", "dspex.cli.main": source}) == ["dspex.cli.main"]


def test_a_ring_is_seen_through_a_late_import():
    late = "def f():\n    import dspex.core.b"
    assert ring({"dspex.core.a": late, "dspex.core.b": "from dspex.core import a"})
