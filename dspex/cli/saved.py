"""A saved program as it stands in its file: read without making it, so nothing is imported."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dspex.core.errors import ProgramFileError
from dspex.core.evidence import Evidence
from dspex.program.named_functions import entries
from dspex.program.provenance import versions_of
from dspex.program.saving import read_file


class SavedField(msgspec.Struct, frozen=True):
    """A field; `name`, `role` and `type` are unknown in DSPy's files."""

    prefix: str = ""
    description: str = ""
    name: str = ""
    role: str = ""
    type: str = ""

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.prefix.rstrip(":")

    def __str__(self) -> str:
        about = "" if self.description in ("", f"${{{self.name}}}") else f": {self.description}"
        kind = " ".join(filter(None, (self.role, self.type)))
        return f"{self.title}{f' ({kind})' if kind else ''}{about}"


class SavedPart(msgspec.Struct, frozen=True):
    """The state of one predictor."""

    path: str
    instructions: str
    fields: tuple[SavedField, ...]
    demos: tuple[Mapping[str, Any], ...] = ()
    lm: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = {}
    more: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """Its own model, with its parameters."""
        if not self.lm:
            return "that of the settings"
        given = {name: value for name, value in self.lm.items() if name not in _NAMES and value is not None}
        return f"{self.lm.get('model', '?')}{f' {_words(given)}' if given else ''}"

    @property
    def parameters(self) -> str:
        """Parameters of each call."""
        return _words(self.config)


_NAMES = frozenset("model model_type provider _dspy_lm_class".split())
_OF_FUNCTION = frozenset("name function why args given_args required".split())
_KNOWN = frozenset("traces train demos signature lm config".split())


class SavedProgram(msgspec.Struct, frozen=True):
    """All that a file says; `place` is the program's class, `is_whole` says that its file and `functions` are enough to make it.

    `settings` are what it was made with beside its signature and tools, and what was given beside a tool's function: "weather.desc".
    `functions` are places to import, or "" for what no file can name; `tools` what the tools take, by their modules' paths.
    """

    file: str
    parts: tuple[SavedPart, ...]
    place: str = ""
    is_whole: bool = False
    versions: Mapping[str, str] = {}
    evidence: Evidence | None = None
    functions: Mapping[str, str] = {}
    tools: Mapping[str, Mapping[str, str]] = {}
    settings: Mapping[str, Any] = {}

    @property
    def program(self) -> str:
        """What it is, in words."""
        if not self.place:
            return "unknown: the file does not say"
        name = self.place.partition(":")[2] if self.is_whole else self.place
        made = "made from the file and functions" if self.functions else "made from the file"
        return f"{name}, {made if self.is_whole else 'which has to be imported'}"

    @property
    def wants(self) -> Sequence[str]:
        """The modules of its functions, which have to be imported."""
        return sorted({place.partition(":")[0] for place in self.functions.values() if place})


def read_saved(file: Path) -> SavedProgram:
    """Raises ProgramFileError, which names the file."""
    state, metadata = read_file(file)
    parts = {"self": state} if "signature" in state and "demos" in state else state
    said = metadata.get("program") or {}
    try:
        found = metadata.get("evidence")
        return SavedProgram(
            str(file),
            tuple(_part(path, one) for path, one in parts.items()),
            str(said.get("class", "")),
            "recipe" in said,
            versions_of(metadata),
            None if found is None else msgspec.convert(found, Evidence),
            {str(one["name"]): str(one.get("function", "")) for one in entries(said.get("recipe") or {})},
            {path: dict(tools) for path, tools in (metadata.get("tools") or {}).items()},
            dict(_settings(said.get("recipe") or {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ProgramFileError(f"{file} is no saved program: {error!r:.200}.") from error


def _settings(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What a recipe says beside the signature, the functions and what they take, which are told by themselves."""
    for name, value in recipe.items():
        if name == "tools":
            for tool in value or ():
                yield from ((f"{tool['name']}.{key}", given) for key, given in tool.items() if key not in _OF_FUNCTION)
        elif name == "module":
            yield from _settings(value.get("recipe") or {})
        elif name not in ("kind", "signature") and value not in (None, {}) and not _is_function(value):
            yield name, value


def _is_function(value: Any) -> bool:
    return isinstance(value, Mapping) and "name" in value and not {"function", "why"}.isdisjoint(value)


def _part(path: str, state: Any) -> SavedPart:
    signature = state["signature"]
    more = tuple(name for name, value in state.items() if name not in _KNOWN and value)
    return SavedPart(
        path,
        str(signature["instructions"]),
        tuple(msgspec.convert(row, SavedField) for row in signature["fields"]),
        tuple(dict(demo) for demo in state.get("demos", ())),
        state.get("lm"),
        state.get("config") or {},
        more,
    )


def _words(given: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in given.items())
