"""Signature: what goes into a call and what comes out, as a text or a class; compiled when it is defined."""

import inspect
from collections.abc import Mapping
from typing import (
    TYPE_CHECKING,
    Any,
    Self,
    TypeVar,
    Unpack,
    dataclass_transform,
    overload,
)

from dspex.core.errors import InputError, ProgramFileError, SignatureError, SignatureTypeError
from dspex.core.nearest import did_you_mean
from dspex.program import grammar
from dspex.program.class_form import bound, own_fields
from dspex.program.compiled import CompiledSignature, compile_signature
from dspex.program.fields import FieldInfo, FieldOptions, InputField, OutputField, field, infer_prefix
from dspex.program.written import render

if TYPE_CHECKING:
    from dspex.core.example import Prediction

M = TypeVar("M", bound="SignatureMeta")


@dataclass_transform(kw_only_default=True, field_specifiers=(InputField, OutputField))
class SignatureMeta(type):
    """Compiles a signature's class when it is defined, and makes classes of texts.

    For type checkers a signature is a dataclass made from its inputs: so a predictor knows what it is called with.
    """

    compiled: CompiledSignature

    def __new__(mcs, name: str, bases: tuple[type, ...], namespace: dict[str, Any], **options: Any) -> "SignatureMeta":
        compiled = options.pop("compiled", None)
        options.pop("init", None)
        if compiled is None and any(isinstance(base, SignatureMeta) for base in bases):
            own = own_fields(name, namespace, grammar.caller())
            parents = [base.compiled for base in reversed(bases) if isinstance(base, SignatureMeta)]
            fields = {key: one for parent in parents for key, one in parent.fields.items()} | own
            given = next((parent.given_instructions for parent in reversed(parents) if parent.given_instructions), None)
            compiled = compile_signature(fields.values(), inspect.cleandoc(namespace.get("__doc__") or "") or given)
            namespace = {key: value for key, value in namespace.items() if key not in own}
        made = super().__new__(mcs, name, bases, namespace, **options)
        made.compiled = compiled or compile_signature((), None)
        return made

    if not TYPE_CHECKING:  # checkers find in it no more than that anything can be made

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            return make_signature(*args, **kwargs) if cls is Signature else super().__call__(*args, **kwargs)

    @property
    def instructions(cls) -> str:
        """What the model is asked to do."""
        return cls.compiled.instructions

    @instructions.setter
    def instructions(cls, text: str) -> None:
        cls.compiled = compile_signature(cls.compiled.fields.values(), text)

    @property
    def fields(cls) -> dict[str, FieldInfo]:
        """All fields by name, inputs first."""
        return dict(cls.compiled.fields)

    @property
    def input_fields(cls) -> dict[str, FieldInfo]:
        """Input fields by name."""
        return {field.name: field for field in cls.compiled.inputs}

    @property
    def output_fields(cls) -> dict[str, FieldInfo]:
        """Output fields by name."""
        return {field.name: field for field in cls.compiled.outputs}

    @property
    def signature(cls) -> str:
        """The short form, `question -> answer`."""
        return cls.compiled.text

    def __repr__(cls) -> str:
        return f"{cls.__name__}({render(cls.compiled.fields.values())})"

    # Changes: each gives a new signature

    def with_instructions(cls: M, instructions: str) -> M:
        """The same fields with other instructions."""
        return cls._with(instructions or None)

    def append_instructions(cls: M, instructions: str) -> M:
        """Those that there are, a blank line, and `instructions`."""
        return cls._with(f"{cls.instructions}\n\n{instructions}")

    @overload
    def with_updated_fields(cls: M, name: str, type_: None = None, **options: Unpack[FieldOptions]) -> M: ...
    @overload
    def with_updated_fields(cls, name: str, type_: Any, **options: Unpack[FieldOptions]) -> "type[TextSignature]": ...
    def with_updated_fields(cls, name: str, type_: Any = None, **options: Any) -> Any:
        """One field with another type or other options (as InputField takes them). Raises KeyError if there is none."""
        old = cls.fields[name]
        new = field(old.role, **{**old.options, **options})
        return cls._remade({**cls.fields, name: new.bound(name, old.annotation if type_ is None else type_)})

    def append(cls, name: str, field: Any, type_: Any = None) -> "type[TextSignature]":
        """One more field, behind those of its side."""
        return cls.insert(-1, name, field, type_)

    def prepend(cls, name: str, field: Any, type_: Any = None) -> "type[TextSignature]":
        """One more field, before those of its side."""
        return cls.insert(0, name, field, type_)

    def insert(cls, index: int, name: str, field: Any, type_: Any = None) -> "type[TextSignature]":
        """One more field at a place among the inputs, or outputs; -1 is behind the last. Raises SignatureError."""
        new = bound(cls.__name__, name, field, type_)
        if name in cls.fields:
            raise SignatureError(f"{cls.__name__} has a field {name!r} already; change it by with_updated_fields.")
        side = [one for one in cls.fields.values() if one.role == new.role]
        place = index + len(side) + 1 if index < 0 else index
        if not 0 <= place <= len(side):
            raise SignatureError(f"{cls.__name__} has {len(side)} {new.role} fields; {index} is no place among them.")
        side.insert(place, new)
        others = [one for one in cls.fields.values() if one.role != new.role]
        return cls._remade({one.name: one for one in (*side, *others)})

    def delete(cls, name: str) -> "type[TextSignature]":
        """Without that field; an absent one is no error."""
        return cls._remade({key: one for key, one in cls.fields.items() if key != name})

    def equals(cls, other: Any) -> bool:
        """Whether names, types, options and instructions are the same."""
        if not isinstance(other, SignatureMeta) or other.compiled.key != cls.compiled.key:
            return False
        from dspex.program.document import facts

        return all(facts(one) == facts(other.fields[name]) for name, one in cls.fields.items())

    def to_json_schema(cls) -> dict[str, Any]:
        """All of the signature as JSON data, which `Signature.from_json_schema` takes.

        A class that is more than its fields, such as a pydantic model, is described there, and has to be given again.
        Raises SignatureTypeError for a field of a type that is none, such as a Callable.
        """
        from dspex.program.document import to_document

        return to_document(cls.__name__, cls.compiled)

    def from_json_schema(
        cls, document: Mapping[str, Any], custom_types: Mapping[str, Any] | None = None
    ) -> "type[TextSignature]":
        """The signature that `to_json_schema` wrote; nothing is imported. Raises ProgramFileError.

        A class of `custom_types` is taken for the one of its name; a Struct, dataclass or TypedDict that is not among
        them comes back as a Struct, an enum as an enum.
        """
        from dspex.program.document import from_document

        return _new_class(*from_document(document, custom_types))

    def dump_state(cls) -> dict[str, Any]:
        """Instructions and fields under DSPy's keys, with names, roles and types beside them."""
        fields = [
            {
                "prefix": one.prefix,
                "description": one.json_schema_extra["desc"],
                "name": name,
                "role": one.role,
                "type": one.type_text,
            }
            for name, one in cls.fields.items()
        ]
        return {"instructions": cls.instructions, "fields": fields}

    def load_state(cls: M, state: Mapping[str, Any]) -> M:
        """The signature with a saved one's instructions, prefixes and descriptions.

        Raises ProgramFileError if the saved one has other fields.
        """
        own = list(cls.fields.values())
        try:
            instructions, rows = state["instructions"], list(state["fields"])
            if not isinstance(instructions, str):
                raise TypeError("its instructions are no text")
            saved = [(row.get("name"), {"prefix": str(row["prefix"]), "desc": str(row["description"])}) for row in rows]
        except (KeyError, TypeError, AttributeError) as error:
            raise ProgramFileError(f"This is no state of a signature: {error!r}.") from error
        names = [name or one.name for (name, _), one in zip(saved, own, strict=False)]
        if len(saved) != len(own) or names != list(cls.fields):
            shown = ", ".join(str(name or "?") for name, _ in saved)
            raise ProgramFileError(
                f"The saved signature has {len(saved)} fields ({shown}); this one is `{cls.signature}`."
            )
        fields = {}
        for (_, kept), one in zip(saved, own, strict=True):
            given = {"prefix": None if kept["prefix"] == f"{infer_prefix(one.name)}:" else kept["prefix"]}
            given["desc"] = "" if kept["desc"] == f"${{{one.name}}}" else kept["desc"]
            fields[one.name] = field(one.role, **{**one.options, **given}).bound(one.name, one.annotation)
        return cls._with(cls.compiled.given_instructions if instructions == cls.instructions else instructions, fields)

    def _with(cls: M, instructions: str | None, fields: Mapping[str, FieldInfo] | None = None) -> M:
        return cls._remade(cls.fields if fields is None else fields, instructions)  # type: ignore[return-value]  # in form

    def _remade(cls, fields: Mapping[str, FieldInfo], *instructions: str | None) -> "type[TextSignature]":
        (given,) = instructions or (cls.compiled.given_instructions,)
        compiled = compile_signature(fields.values(), given)
        return _new_class(cls.__name__, compiled, cls.__module__, cls.__qualname__)


if TYPE_CHECKING:

    class _Result(Prediction):
        """What checkers know of every result: a prediction is typed as its signature."""

        reasoning: str
        __getattr__: None  # type: ignore[assignment,misc]  # a name that is no field is an error

        def __init__(self, **values: Any) -> None: ...
        def __init_subclass__(cls, *, init: bool = True) -> None: ...

else:
    _Result = object


class Signature(_Result, metaclass=SignatureMeta, init=False):
    """Declares a task: subclass it, with fields as attributes and the instructions as docstring, or call it with a text.

    `Signature("question, context: list[str] -> answer", "Answer briefly.")` is a class too. A subclass called with
    values for its fields makes a record of them. Raises SignatureError where the definition is wrong.

    Type checkers take a result for an instance of its signature, so `Predict(QA)(question=...).answer` has the field's
    type. The price: they offer a Prediction's members and `reasoning` on each, and know the inputs as what makes a
    record. They cannot see fields inside `Annotated` nor ones without a type: `class QA(Signature, init=False)` has
    them accept any inputs.
    """

    if TYPE_CHECKING:

        @overload
        def __new__(cls, **values: Any) -> Self: ...
        @overload
        def __new__(  # type: ignore[misc]  # a text makes a class
            cls,
            signature: str | Mapping[str, Any],
            instructions: str | None = None,
            signature_name: str = "",
            custom_types: Mapping[str, Any] | None = None,
        ) -> "type[TextSignature]": ...
        def __new__(cls, *args: Any, **values: Any) -> Any: ...

    else:

        def __init__(self, /, **values: Any) -> None:
            fields = type(self).compiled.fields
            faults = [f"{name!r} is missing" for name, one in fields.items() if one.required and name not in values]
            faults += [f"{name!r} is unknown.{did_you_mean(name, fields)}" for name in values if name not in fields]
            if faults:
                raise InputError(f"A record of {type(self).__name__}: {'; '.join(faults)}")
            record = {name: values[name] if name in values else one.absent() for name, one in fields.items()}
            vars(self).update(record)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and vars(other) == vars(self)

    __hash__ = None  # type: ignore[assignment]  # its values may change

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in vars(self).items())})"


if TYPE_CHECKING:

    class TextSignature(Signature, init=False):
        """What checkers know of a signature made or changed at run time: it may have any fields."""

        def __getattr__(self, name: str) -> Any: ...  # type: ignore[override]  # as a Prediction has it


def make_signature(
    signature: str | Mapping[str, Any],
    instructions: str | None = None,
    signature_name: str = "StringSignature",
    custom_types: Mapping[str, Any] | None = None,
) -> "type[TextSignature]":
    """A signature's class from a text, or from a dict of name to field or to (type, field). Raises SignatureError."""
    instructions = (inspect.cleandoc(instructions) if instructions else "") or None
    if isinstance(signature, Mapping):
        rows = {name: one if isinstance(one, tuple) else (None, one) for name, one in signature.items()}
        fields = [bound(signature_name, name, one, kind) for name, (kind, one) in rows.items()]
        return ensure_signature(_new_class(signature_name, compile_signature(fields, instructions)))
    if not isinstance(signature, str):
        raise SignatureTypeError(f"A signature is a text, a dict or a Signature class, not {type(signature).__name__}.")
    parsed = grammar.parse(signature, custom_types, grammar.caller())
    fields = [FieldInfo(role).bound(name, annotation) for role, name, annotation, _ in parsed]
    try:
        return _new_class(signature_name, compile_signature(fields, instructions))
    except SignatureTypeError as error:
        at = next(one.at for one in parsed if str(error).startswith(f"Field {one.name!r} "))
        grammar.fail(signature, at, str(error))


@overload
def ensure_signature(signature: None, instructions: str | None = None) -> None: ...
@overload
def ensure_signature(signature: M, instructions: str | None = None) -> M: ...
@overload
def ensure_signature(signature: str | Mapping[str, Any], instructions: str | None = None) -> "type[TextSignature]": ...
def ensure_signature(signature: Any, instructions: str | None = None) -> Any:
    """A signature's class from a text, a dict or a class; None stays None."""
    if not (isinstance(signature, type) and issubclass(signature, Signature)):
        return None if signature is None else make_signature(signature, instructions)
    if not signature.compiled.outputs:
        raise SignatureError(f"{signature.__name__} has no output field.")
    return signature if instructions is None else signature._with(instructions)


def signature_class(signature: Any) -> "type[TextSignature]":
    """`ensure_signature` where one has to be given. Raises SignatureError for None."""
    if signature is None:
        raise SignatureError('A signature is needed, as "question -> answer" or a class of one; None was given.')
    made: type[TextSignature] = ensure_signature(signature)
    return made


def _new_class(
    name: str, compiled: CompiledSignature, module: str = __name__, qualname: str = ""
) -> "type[TextSignature]":
    names = {"__module__": module, "__qualname__": qualname or name, "__doc__": compiled.instructions}
    return SignatureMeta(name, (Signature,), names, compiled=compiled)  # type: ignore[return-value]  # it is one
