"""Pydantic's models as values. Pydantic is never imported here: where there is a model, it is loaded.

A model is written by its fields' names, as a saved program has it, and read by names and aliases (pydantic 2.11).
"""

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from typing import Any, NamedTuple

# In the context of a dump: values that become parts of a message are refused, for JSON has no place for them.
NO_PARTS = "dspex_no_parts"


class Reader(NamedTuple):
    """How values of a type are read from JSON text and from JSON data; `schema()` is that of both, where there is one."""

    from_json: Callable[[str], Any]
    from_data: Callable[[Any], Any]
    schema: Callable[[], Mapping[str, Any]]


def reader(annotation: Any, leaves: Iterable[Any]) -> Reader | None:
    """Pydantic's way to values of a type made of these leaves; None for one without a model in it."""
    if not any(hasattr(leaf, "__pydantic_validator__") for leaf in leaves):
        return None
    adapter = sys.modules["pydantic"].TypeAdapter(annotation)
    read = _by_both(adapter.validate_python)
    takes_names = isinstance(read, partial)
    schema = partial(adapter.json_schema, by_alias=not takes_names)
    return Reader(_by_both(adapter.validate_json), read, schema)


def annotated(annotation: Any) -> Reader | None:
    """Pydantic's way to values of an Annotated type that one of its `Field`s is in; None without, or where it cannot."""
    if not any(map(is_pydantics, annotation.__metadata__)):
        return None
    pydantic = sys.modules["pydantic"]
    try:
        adapter = pydantic.TypeAdapter(annotation)
    except pydantic.PydanticUserError:  # a type that it does not know, as a Struct
        return None
    return Reader(adapter.validate_json, adapter.validate_python, adapter.json_schema)


@cache
def textual(kind: Any) -> Reader | None:
    """Pydantic's way to a class of its own that a text says, as HttpUrl; None for any other."""
    if not (hasattr(kind, "__get_pydantic_core_schema__") and "pydantic" in sys.modules):
        return None
    adapter = sys.modules["pydantic"].TypeAdapter(kind)
    found = Reader(adapter.validate_json, adapter.validate_python, adapter.json_schema)
    return found if found.schema().get("type") == "string" else None


def is_pydantics(note: Any) -> bool:
    """Whether it is what pydantic's `Field` gives."""
    return type(note).__module__ == "pydantic.fields"


def validated(kind: Any, value: Any) -> Any:
    """A model of that class from JSON data. Raises ValueError."""
    return _by_both(kind.model_validate)(value)


def dumped(model: Any, *, with_parts: bool = False) -> Any:
    """A model's JSON data; `with_parts`: what becomes parts of a message stays as it is."""
    try:
        return model.model_dump(mode="json", context={NO_PARTS: with_parts})
    except ValueError:  # parts, or a value that pydantic has no JSON for
        return model.model_dump()


def reason(error: Exception) -> str:
    """What a value lacks, in words: pydantic's own text has an address after each line."""
    listed: list[Any] = getattr(error, "errors", list)()
    return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in listed) or str(error)


def _by_both(validate: Callable[..., Any]) -> Callable[..., Any]:
    takes_names = "by_name" in inspect.signature(validate).parameters
    return partial(validate, by_alias=True, by_name=True) if takes_names else validate
