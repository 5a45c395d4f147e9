"""Example and Prediction: records of fields, reached as items or attributes."""

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any, Self

from dspex.core.identity import plain


class Example:
    """A record of named fields; `with_inputs` says which of them a program is given.

    A field whose name is also a method (`keys`, `items`, ...) is reached by item: `example["keys"]`.
    """

    __slots__ = ("__weakref__", "_input_keys", "_store")
    _store: dict[str, Any]
    _input_keys: tuple[str, ...] | None

    def __init__(self, base: "Example | Mapping[str, Any] | None" = None, **fields: Any) -> None:
        if base is None:
            _set_store(self, fields)
            return
        keys = None
        if isinstance(base, Example):
            keys, base = base._input_keys, base._store
        elif not isinstance(base, Mapping):
            raise TypeError(
                f"The first argument is an Example or a mapping of fields, not {type(base).__name__}; "
                "a field of the name `base` is given as {'base': ...}."
            )
        _set_store(self, {**base, **fields})
        _set_inputs(self, keys)

    # Access

    def __getattr__(self, name: str) -> Any:
        if name == "_input_keys":  # most records are made without: each write to a slot costs
            return None
        if name.startswith("__") or name in _SLOTS:
            raise AttributeError(name)
        try:
            return self._store[name]
        except KeyError:
            raise AttributeError(
                f"{type(self).__name__} has no field {name!r}; it has: {', '.join(self._store) or 'none'}."
            ) from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _SLOTS:
            object.__setattr__(self, name, value)
        else:
            self._store[name] = value

    def __delattr__(self, name: str) -> None:
        if name not in self._store:
            raise AttributeError(name)
        del self._store[name]

    def __getitem__(self, name: str) -> Any:
        return self._store[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._store[name] = value

    def __delitem__(self, name: str) -> None:
        del self._store[name]

    def __contains__(self, name: object) -> bool:
        return name in self._store

    def __iter__(self) -> Iterator[str]:
        return iter(self._store)

    def __len__(self) -> int:
        return len(self._store) - sum(key.startswith("dspy_") for key in self._store)

    def keys(self, include_dspy: bool = False) -> list[str]:
        """Names of the fields; those that begin with `dspy_` only when asked for."""
        return [*self._shown(include_dspy)]

    def values(self, include_dspy: bool = False) -> list[Any]:
        """Values of the fields."""
        return [*self._shown(include_dspy).values()]

    def items(self, include_dspy: bool = False) -> list[tuple[str, Any]]:
        """Names and values of the fields."""
        return [*self._shown(include_dspy).items()]

    def get(self, name: str, default: Any = None) -> Any:
        """The field's value, or `default`."""
        return self._store.get(name, default)

    def _shown(self, include_dspy: bool) -> dict[str, Any]:
        if include_dspy:
            return self._store
        return {key: value for key, value in self._store.items() if not key.startswith("dspy_")}

    # Copies

    def with_inputs(self, *names: str) -> Self:
        """A copy that gives the named fields to a program and keeps the others as labels."""
        if type(self) is not Example:
            return self._twin(self._store.copy(), names)
        twin = _new(Example)
        _set_store(twin, self._store.copy())
        _set_inputs(twin, names)
        return twin  # type: ignore[return-value]  # an Example, as self is

    def copy(self, **changes: Any) -> Self:
        """A shallow copy with some fields changed."""
        return self._twin({**self._store, **changes}, self._input_keys)

    def _twin(self, store: dict[str, Any], inputs: tuple[str, ...] | None) -> Self:
        twin = _new(type(self))
        if type(self) is not Example:
            twin.__setstate__(self.__getstate__())
        _set_store(twin, store)
        _set_inputs(twin, inputs)
        return twin

    def without(self, *names: str) -> Self:
        """A copy that lacks the named fields. Raises KeyError if one is absent."""
        twin = self.copy()
        for name in names:
            del twin._store[name]
        return twin

    def inputs(self) -> "Example":
        """The input fields. Raises ValueError before `with_inputs`."""
        keys = self._declared_inputs()
        return Example({key: self._store[key] for key in self._store if key in keys}).with_inputs(*keys)

    def labels(self) -> "Example":
        """All other fields. Raises ValueError before `with_inputs`."""
        keys = self._declared_inputs()
        return Example({key: value for key, value in self._store.items() if key not in keys})

    def _declared_inputs(self) -> tuple[str, ...]:
        if self._input_keys is None:
            raise ValueError(
                f"Inputs are not declared: call .with_inputs(...) on {self!r} with the names of its inputs."
            )
        return self._input_keys

    def toDict(self) -> dict[str, Any]:  # noqa: N802  DSPy's name
        """The fields as plain JSON data. Raises TypeError, naming the field, for a value without a JSON form."""
        data = {}
        for key, value in self._store.items():
            try:
                data[key] = plain(value)
            except TypeError as error:
                raise TypeError(f"Field {key!r}: {error}") from error
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any], signature: Any = None) -> Self:
        """The fields back from `toDict`; with a signature, its fields get their types again and its inputs are declared.

        Raises ValueError, naming the field, for a value that does not fit.
        """
        made = cls(data)
        fields = {} if signature is None else signature.fields
        for key in fields.keys() & data.keys():
            try:
                read = fields[key].restore or fields[key].convert
                made._store[key] = None if data[key] is None else read(data[key])
            except ValueError as error:
                raise ValueError(f"Field {key!r}: {error}") from error
        return made.with_inputs(*(key for key in signature.input_fields if key in data)) if fields else made

    # Comparison

    def __eq__(self, other: object) -> bool:
        return self._store == other._store if isinstance(other, Example) else NotImplemented

    def __hash__(self) -> int:
        return _hash(self._store)

    def __repr__(self) -> str:
        given = "" if self._input_keys is None else f" (inputs: {', '.join(sorted(self._input_keys))})"
        return f"{type(self).__name__}({_listed(self.items())}){given}"

    def __getstate__(self) -> dict[str, Any]:
        return {slot: getattr(self, slot) for slot in _SLOTS if slot != "__weakref__" and hasattr(self, slot)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        for slot, value in state.items():
            object.__setattr__(self, slot, value)


# The slots' own setters: `self.x = y` would go through Example.__setattr__, at five times the cost.
_new = object.__new__
_set_store = Example.__dict__["_store"].__set__
_set_inputs = Example.__dict__["_input_keys"].__set__


class Completions(Sequence["Prediction"]):
    """All n outputs of one call: by index a Prediction, by field name a list of values."""

    __slots__ = ("_columns", "signature")

    def __init__(
        self, list_or_dict: Sequence[Mapping[str, Any]] | Mapping[str, list[Any]], signature: Any = None
    ) -> None:
        if isinstance(list_or_dict, Mapping):
            columns = {name: list(values) for name, values in list_or_dict.items()}
        else:
            names = list(dict.fromkeys(name for row in list_or_dict for name in row))
            columns = {name: [row[name] for row in list_or_dict if name in row] for name in names}
            if lacking := [str(row) for row, one in enumerate(list_or_dict) if len(one) < len(names)]:
                raise ValueError(
                    f"Completions have the same fields in each; {', '.join(lacking)} lack one of: {', '.join(names)}."
                )
        if len({len(values) for values in columns.values()}) > 1:
            raise ValueError(
                "The columns of completions have the same length; these have: "
                + ", ".join(f"{name} {len(values)}" for name, values in columns.items())
            )
        self._columns = columns
        self.signature = signature

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            return self._columns[key]
        if isinstance(key, slice):
            return [self[index] for index in range(*key.indices(len(self)))]
        if not 0 <= key < len(self):
            raise IndexError(f"There are {len(self)} completions; {key} is none of them.")
        return Prediction({name: values[key] for name, values in self._columns.items()})

    def __getattr__(self, name: str) -> list[Any]:
        if name.startswith("_") or name not in self._columns:
            raise AttributeError(name)
        return self._columns[name]

    def __len__(self) -> int:
        return len(next(iter(self._columns.values()), ()))

    def __contains__(self, name: object) -> bool:
        return name in self._columns

    def items(self) -> ItemsView[str, list[Any]]:
        """Field names and their columns."""
        return self._columns.items()

    def __repr__(self) -> str:
        return f"Completions({_listed(self.items())})"


class Prediction(Example):
    """What a program returns; a field named `score` makes it comparable and addable like a number."""

    __slots__ = ("_completions", "_lm_usage")
    _completions: Completions | tuple[()] | None
    _lm_usage: dict[str, Any] | None

    def __init__(self, base: Example | Mapping[str, Any] | None = None, **fields: Any) -> None:
        if base is None:
            _set_store(self, fields)
        else:
            super().__init__(base, **fields)

    @classmethod
    def owning(cls, fields: dict[str, Any]) -> "Prediction":
        """One of these very fields, which nobody else changes from now on."""
        made: Prediction = _new(cls)
        _set_store(made, fields)
        _set_completions(made, ())
        return made

    @classmethod
    def from_completions(
        cls, list_or_dict: Sequence[Mapping[str, Any]] | Mapping[str, list[Any]] | Completions, signature: Any = None
    ) -> "Prediction":
        """The first completion's fields, with all of them behind `.completions`."""
        rows = list_or_dict if isinstance(list_or_dict, Completions) else Completions(list_or_dict, signature)
        made = cls({name: values[0] for name, values in rows.items()})
        made._completions = rows
        return made

    @property
    def completions(self) -> Completions | None:
        """All n outputs of the call that made this, None where none did."""
        try:
            found: Completions | tuple[()] | None = _get_completions(self)
        except AttributeError:
            return None
        if isinstance(found, tuple):  # one output: few ask for it as a list
            found = self._completions = Completions([self._store])
        return found

    def get_lm_usage(self) -> dict[str, Any] | None:
        """Tokens by model of the call that made this, when usage is tracked."""
        try:
            return _get_usage(self)  # type: ignore[no-any-return]  # what the setter was given
        except AttributeError:
            return None

    def set_lm_usage(self, usage: dict[str, Any]) -> None:
        """Attach tokens by model."""
        self._lm_usage = usage

    def __repr__(self) -> str:
        count = len(self.completions or ())
        more = f"  # of {count} completions" if count > 1 else ""
        return f"{type(self).__name__}({_listed(self.items())}){more}"

    # Score protocol

    def __float__(self) -> float:
        try:
            return float(self._store["score"])
        except (KeyError, TypeError, ValueError):
            raise ValueError(f"{self!r} has no number in a field `score`, so it is none itself.") from None

    def __bool__(self) -> bool:
        score = self._store.get("score")
        return bool(score) if hasattr(score, "__float__") else bool(self._store)

    def __add__(self, other: Any) -> float:
        return float(self) + float(other) if hasattr(other, "__float__") else NotImplemented

    __radd__ = __add__

    def __truediv__(self, other: Any) -> float:
        return float(self) / float(other) if hasattr(other, "__float__") else NotImplemented

    def __rtruediv__(self, other: Any) -> float:
        return float(other) / float(self) if hasattr(other, "__float__") else NotImplemented

    def __lt__(self, other: Any) -> bool:
        return float(self) < float(other) if hasattr(other, "__float__") else NotImplemented

    def __le__(self, other: Any) -> bool:
        return float(self) <= float(other) if hasattr(other, "__float__") else NotImplemented

    def __gt__(self, other: Any) -> bool:
        return float(self) > float(other) if hasattr(other, "__float__") else NotImplemented

    def __ge__(self, other: Any) -> bool:
        return float(self) >= float(other) if hasattr(other, "__float__") else NotImplemented


_get_completions = Prediction.__dict__["_completions"].__get__
_set_completions = Prediction.__dict__["_completions"].__set__
_get_usage = Prediction.__dict__["_lm_usage"].__get__
_SLOTS = frozenset(Example.__slots__) | frozenset(Prediction.__slots__)


def _listed(fields: Iterable[tuple[str, Any]]) -> str:
    """Names and values, each cut to 200 characters or so; sets are sorted, so that any process writes the same."""
    short = Repr()
    short.maxstring = short.maxother = short.maxlong = 200
    short.maxdict = short.maxlist = short.maxtuple = short.maxset = short.maxfrozenset = 8
    texts = {key: short.repr(value) for key, value in fields}
    return ", ".join(f"{key}={text if len(text) <= 300 else f'{text[:297]}...'}" for key, text in texts.items())


def _hash(value: Any) -> int:
    """A hash of content: equal values have equal ones, and what Python has none for counts as nothing."""
    if isinstance(value, Mapping):
        return hash(frozenset((key, _hash(item)) for key, item in value.items()))
    if isinstance(value, (list, tuple)):
        return hash(tuple(map(_hash, value)))
    if isinstance(value, (set, frozenset)):
        return hash(frozenset(value))
    try:
        return hash(value)
    except TypeError:
        return 0
