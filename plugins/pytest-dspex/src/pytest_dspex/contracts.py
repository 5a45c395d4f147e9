"""Contract kits among the tests: each subclass is found, and one that lacks a part says which."""

import dis
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

KITS = "dspex.testing."
ENDINGS = ("Contract", "Behaviour")


def is_kit(one: Any) -> bool:
    """Whether it is a kit itself."""
    return inspect.isclass(one) and one.__module__.startswith(KITS) and one.__name__.endswith(ENDINGS)


def uses_kit(one: Any) -> bool:
    """Whether it is a class that subclasses a kit, and is none."""
    return inspect.isclass(one) and not is_kit(one) and any(is_kit(base) for base in one.__mro__)


def lacking(one: type) -> Iterator[str]:
    """What a subclass has to give and does not: the kit's own methods that say so, each with its first line."""
    for name in sorted({name for base in one.__mro__ for name in vars(base) if not name.startswith("_")}):
        method = getattr(one, name)
        code = getattr(method, "__code__", None)
        if code is not None and code.co_names == ("NotImplementedError",) and not sets(one, name):
            yield f"{name}: {(inspect.getdoc(method) or '').partition(chr(10))[0]}"


def sets(one: type, name: str) -> bool:
    """Whether something that a class adds to its kit, a fixture of its own for one, sets that attribute."""
    own = [inspect.unwrap(value) for base in one.__mro__ if not is_kit(base) for value in vars(base).values()]
    steps = (step for each in own if hasattr(each, "__code__") for step in dis.get_instructions(each))
    return any(step.opname == "STORE_ATTR" and step.argval == name for step in steps)


class Unfinished(pytest.Item):
    """Stands for a class that cannot be run yet."""

    def runtest(self) -> None:
        """Say what is missing."""
        kit = self.parent_kit  # type: ignore[attr-defined]  # set where it is made
        parts = "\n  ".join(lacking(kit))
        pytest.fail(f"{kit.__name__} is not finished. It has to give:\n  {parts}", pytrace=False)


def collected(collector: Any, name: str, one: type) -> Any:
    """A class of tests for a subclass of a kit, whatever its name; one item that fails for an unfinished one."""
    if one.__dict__.get("__test__") is False:
        return []
    if any(True for _ in lacking(one)):
        item = Unfinished.from_parent(collector, name=name)
        item.parent_kit = one  # type: ignore[attr-defined]  # read when it runs
        return item
    return pytest.Class.from_parent(collector, name=name, obj=one)
