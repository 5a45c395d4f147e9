"""A signature compiled once: field table, Structs, JSON schema, and room for each adapter's prepared prompt."""

from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any
from weakref import WeakValueDictionary

import msgspec

from dspex.core.errors import AdapterParseError, InputError
from dspex.core.identity import digest
from dspex.core.nearest import did_you_mean
from dspex.program.fields import FieldInfo
from dspex.program.types.history import History
from dspex.program.values import from_plain, leaves

_interned: WeakValueDictionary[Any, "CompiledSignature"] = WeakValueDictionary()  # equal text and types share one


def compile_signature(fields: Iterable[FieldInfo], instructions: str | None) -> "CompiledSignature":
    """The compiled form of bound fields; None gives the default instructions.

    Raises SignatureTypeError for an output of a type that nothing can be read for.
    """
    ordered = tuple(sorted(fields, key=lambda field: field.role == "output"))
    try:
        key = (instructions, *map(_identity, ordered))
        return _interned.get(key) or _interned.setdefault(key, CompiledSignature(ordered, instructions))
    except TypeError as error:
        if "unhashable" not in str(error):
            raise
        return CompiledSignature(ordered, instructions)


def _identity(field: FieldInfo) -> tuple[Any, ...]:
    kind, default = field.annotation, field.default
    # The texts tell apart what Python calls equal: 1 and True, `int | None` and Optional[int], another order of Literals.
    texts = "" if kind is str else repr(kind), repr(default)
    declared = field.role, field.desc, field.given_prefix, field.meta, default, field.default_factory
    return field.name, kind, declared, texts


class CompiledSignature:
    """What a call needs of a signature, never looked up again (`SignatureView`)."""

    def __init__(self, fields: tuple[FieldInfo, ...], instructions: str | None) -> None:
        self.fields = {field.name: field.ready() for field in fields}
        self.inputs = tuple(field for field in self.fields.values() if field.role == "input")
        self.outputs = tuple(field for field in self.fields.values() if field.role == "output")
        self.output_names = {field.name: None for field in self.outputs}.keys()
        self.is_of_texts = bool(self.outputs) and all(field.decode is str for field in self.outputs)
        self.input_names = {field.name: None for field in self.inputs}
        self._kinds = [(field.name, field.annotation, field.meta is not None, field) for field in self.inputs]
        self.templates: dict[Any, Any] = {}
        self.history = next((f.name for f in self.inputs if f.restore and History in leaves(f.annotation)), None)
        self.given_instructions = instructions
        given, wanted = (", ".join([f"`{field.name}`" for field in side]) for side in (self.inputs, self.outputs))
        start = f"Given the fields {given}, produce" if given else "Produce"
        self.instructions = f"{start} the fields {wanted}." if instructions is None else instructions

    def __reduce__(self) -> tuple[Any, ...]:
        return compile_signature, (tuple(self.fields.values()), self.given_instructions)

    @property
    def input_fields(self) -> dict[str, FieldInfo]:
        """As a signature's class has it, for adapters written for DSPy."""
        return {field.name: field for field in self.inputs}

    @property
    def output_fields(self) -> dict[str, FieldInfo]:
        """As a signature's class has it."""
        return {field.name: field for field in self.outputs}

    @property
    def text(self) -> str:
        """Names only: `question -> answer`."""
        return " -> ".join(", ".join(field.name for field in side) for side in (self.inputs, self.outputs))

    @cached_property
    def key(self) -> str:
        """Digest of text, types and instructions."""
        names = ("role", "name", "type_text", "desc", "prefix", "constraints", "required", "choices")
        return digest([self.instructions, [[getattr(f, name) for name in names] for f in self.fields.values()]])

    @cached_property
    def without_history(self) -> "CompiledSignature":
        """What is shown of it where an input has the earlier turns: the other fields."""
        others = [field for field in self.fields.values() if field.name != self.history]
        return compile_signature(others, self.given_instructions)

    @cached_property
    def may_go_natively(self) -> bool:
        """Whether a field is of a kind that some providers take beside the prompt: tools, calls, reasoning."""
        kinds = [leaf for field in self.fields.values() for leaf in leaves(field.annotation)]
        return any(getattr(kind, "goes_natively", False) for kind in kinds)

    @cached_property
    def input_struct(self) -> type[msgspec.Struct]:
        """A Struct of the inputs."""
        return _struct("Inputs", self.inputs)

    @cached_property
    def output_struct(self) -> type[msgspec.Struct]:
        """A Struct of the outputs."""
        return _struct("Outputs", self.outputs)

    @cached_property
    def output_schema(self) -> Mapping[str, Any]:
        """JSON schema of the outputs as one object."""
        properties: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        for field in self.outputs:
            properties[field.name] = {**field.schema, **({"description": field.desc} if field.desc else {})}
            shared |= properties[field.name].pop("$defs", {})
        required = [field.name for field in self.outputs if field.required]
        whole = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
        return whole | ({"$defs": shared} if shared else {})

    def check_inputs(self, given: dict[str, Any]) -> dict[str, Any]:
        """The inputs with defaults filled in. Raises InputError for missing and unknown ones."""
        if given.keys() == self.input_names.keys():
            return given
        absent = [field for field in self.inputs if field.name not in given]
        faults = [f"{field.name!r} is missing" for field in absent if field.required]
        faults += [f"{name!r} is an output" for name in given if name in self.fields and name not in self.input_names]
        unknown = [name for name in given if name not in self.fields]
        faults += [f"{name!r} is unknown.{did_you_mean(name, self.input_names)}" for name in unknown]
        if faults:
            raise InputError(f"Inputs of `{self.text}`: {'; '.join(faults)}")
        return given | {field.name: field.absent() for field in absent}

    def mismatches(self, inputs: Mapping[str, Any]) -> dict[str, str]:
        """What is wrong with the types of inputs, by name; usually nothing.

        Text may be a number or a list too: it says the same in a prompt, and many fields are text as nobody gave them a type.
        """
        found = {}
        for name, kind, is_bounded, field in self._kinds:
            value = inputs[name]
            if type(value) is kind and not is_bounded:
                continue
            try:
                if not (kind is str and isinstance(value, (int, float, list, tuple))):
                    msgspec.convert(value, field.constrained, dec_hook=from_plain)
            except (ValueError, RecursionError) as error:
                found[name] = str(error)
            except TypeError:
                continue  # a type that msgspec does not know
        return found

    def convert_outputs(self, data: Mapping[str, Any], *, from_text: bool = False) -> dict[str, Any]:
        """Typed outputs, in order, from JSON data or (`from_text`) texts; what may be absent gets its default.

        Raises AdapterParseError with the field and what could be read.
        """
        values: dict[str, Any] = {}
        for field in self.outputs:
            name = field.name
            value: Any = data.get(name)
            try:
                if value is not None or (field.required and name in data):
                    values[name] = field.decode(value) if from_text else field.convert(value)
                elif field.required:
                    raise ValueError("it is missing")
                else:
                    values[name] = field.absent()
            except ValueError as error:
                reason = "value" if name in data else "missing"
                message = f"field `{name}`: {error}"
                raise AdapterParseError(message, field=name, reason=reason, parsed_result=values) from error
        return values


def _struct(name: str, fields: Iterable[FieldInfo]) -> type[msgspec.Struct]:
    columns: list[Any] = []
    for field in fields:
        default = () if field.required else (msgspec.field(default_factory=field.absent),)
        columns.append((field.name, field.constrained, *default))
    return msgspec.defstruct(name, columns, kw_only=True)
