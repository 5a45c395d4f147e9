"""The class form of a signature: fields out of what a class body declares."""

import typing
from types import FrameType
from typing import Any, ClassVar, get_origin

from dspex.core.errors import SignatureError, SignatureTypeError
from dspex.program.fields import FieldInfo, name_fault


def own_fields(owner: str, namespace: dict[str, Any], frame: FrameType | None) -> dict[str, FieldInfo]:
    """The fields that a class body declares, by name. Raises SignatureError for what is neither input nor output."""
    types = _annotations(owner, namespace, frame)
    marked = {name: value for name, value in namespace.items() if isinstance(value, FieldInfo)}
    found = {}
    for name in dict.fromkeys((*marked, *types)):
        kind = types.get(name, str)
        notes = [note for note in getattr(kind, "__metadata__", ()) if isinstance(note, FieldInfo)]
        if ClassVar in (kind, get_origin(kind)) or (name.startswith("__") and name not in marked):
            continue
        if name not in marked and not notes:
            raise SignatureTypeError(f"{owner}.{name} is neither input nor output: write `{name}: ... = InputField()`.")
        found[name] = bound(owner, name, marked[name] if name in marked else notes[0], kind)
    return found


def _annotations(owner: str, namespace: dict[str, Any], frame: FrameType | None) -> dict[str, Any]:
    written = namespace.get("__annotations__", {})
    if not any(isinstance(kind, str) for kind in written.values()):
        return dict(written)
    holder = type(owner, (), {"__annotations__": written})
    names = {**frame.f_locals, **namespace} if frame else namespace
    try:
        return typing.get_type_hints(holder, frame.f_globals if frame else None, names, include_extras=True)
    except Exception as error:  # whatever looking up an annotation raises
        raise SignatureTypeError(f"The annotations of {owner} cannot be resolved: {error}") from error


def bound(owner: str, name: str, one: Any, annotation: Any) -> FieldInfo:
    """A field under its name in `owner`; without an annotation its own, else str. Raises SignatureError."""
    if not isinstance(one, FieldInfo):
        raise SignatureTypeError(f"{owner}.{name} needs InputField() or OutputField(), not {one!r:.80}.")
    if wrong := name_fault(name):
        raise SignatureError(f"{owner}: {wrong}.")
    return one.bound(name, annotation if annotation is not None else one.annotation or str)
