"""A saved program's functions found again: given by whoever loads it, or imported where he allows that."""

import importlib
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from dspex.core.errors import DspexError, ProgramFileError
from dspex.core.nearest import did_you_mean
from dspex.program.named_functions import entries, module_of
from dspex.program.types.tool import Tool

_OPTIONS = ("desc", "required", "timeout_s", "max_output_chars", "idempotent")


class Functions:
    """Those of one file: of `given` by their names, else of the modules in `allow`. Nothing else is imported."""

    def __init__(self, allow: Sequence[str], given: Mapping[str, Any]) -> None:
        self.allow = allow
        self._given = given

    def check(self, recipe: Mapping[str, Any]) -> None:
        """Raise ProgramFileError for all functions that cannot be had, before anything is imported."""
        wanted = {str(one["name"]): one for one in entries(recipe)}
        for name in self._given:
            if name not in wanted:
                known = ", ".join(wanted) or "none"
                raise ProgramFileError(
                    f"It has no function {name!r}.{did_you_mean(name, wanted)} Those that it has: {known}."
                )
        lacking = {name: one for name, one in wanted.items() if name not in self._given}
        unnamed = {
            name: one.get("why", "the file does not say where it is")
            for name, one in lacking.items()
            if not one.get("function")
        }
        if unnamed:
            said = "; ".join(f"{name!r} cannot be imported: {why}" for name, why in unnamed.items())
            raise ProgramFileError(f"Of its functions {said}. Or give it: functions={_shown(unnamed)}.")
        places = {name: str(one["function"]) for name, one in lacking.items()}
        refused = {name: place for name, place in places.items() if not is_allowed(place, self.allow)}
        if refused:
            roots = sorted({place.partition(":")[0].partition(".")[0] for place in refused.values()})
            named = ", ".join(refused.values())
            raise ProgramFileError(
                f"It calls {named}, and to import that runs the code of its module. Allow it, allow={roots!r}, or give "
                f"the functions: functions={_shown(refused)}."
            )

    def function(self, entry: Mapping[str, Any]) -> Any:
        """The function of an entry, or a tool that stands in its place."""
        name = str(entry["name"])
        if name in self._given:
            return self._given[name]
        place = str(entry["function"])
        found = imported(place, f"Its function {name!r}", name)
        if not callable(found):
            raise ProgramFileError(f"Its function {name!r} is no function: {place} is a {type(found).__name__}.")
        module, home = place.partition(":")[0], module_of(found.func if isinstance(found, Tool) else found)
        if home != module:  # a module that is allowed has imported others, which are not
            raise ProgramFileError(f"Its function {name!r} is no function of {module}: {place} is one of {home}.")
        return found

    def tool(self, entry: Mapping[str, Any]) -> Tool:
        """The tool of an entry, with all that it was given; one that the caller gives as a Tool is taken as it is."""
        name, found = str(entry["name"]), self.function(entry)
        if name in self._given and isinstance(found, Tool):
            return found
        options = {key: entry[key] for key in _OPTIONS if key in entry}
        if "confirm" in entry:
            options["confirm"] = self.function(entry["confirm"])
        if entry.get("given_args"):
            options["args"] = entry["args"]
        try:
            made = Tool(found.func if isinstance(found, Tool) else found, name, **options)
        except DspexError as error:
            raise ProgramFileError(
                f"Its tool {name!r} cannot be made of {entry.get('function', 'what was given')}: {error} "
                f"Give it as a Tool: functions={_shown((name,))}."
            ) from error
        return found if isinstance(found, Tool) and found == made else made

    def tools(self, recipe: Mapping[str, Any]) -> list[Tool]:
        """All tools of a recipe."""
        return [self.tool(entry) for entry in recipe.get("tools") or ()]

    def optional(self, recipe: Mapping[str, Any], name: str) -> Any:
        """The function that a recipe has under a name, or None."""
        return self.function(recipe[name]) if recipe.get(name) is not None else None


def is_allowed(place: str, allow: Sequence[str]) -> bool:
    """Whether a module, or a package around it, is named."""
    module = place.partition(":")[0]
    return any(module == one or module.startswith(f"{one}.") for one in allow)


def imported(place: str, what: str, name: str) -> Any:
    """What stands at "package.module:name". Raises ProgramFileError that guesses where it went."""
    module, _, path = place.partition(":")
    advice = f"If it was moved or renamed, give it: functions={_shown((name,))}."
    try:
        home = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ProgramFileError(
            f"{what} cannot be had: importing {module} gave {type(error).__name__}: {error}. {advice}"
        ) from error
    try:
        return reduce(getattr, path.split("."), home)
    except AttributeError as error:
        here = [one for one in vars(home) if callable(getattr(home, one))]
        raise ProgramFileError(f"{what} is no more at {place}: {error}.{did_you_mean(path, here)} {advice}") from error


def _shown(names: Any) -> str:
    return "{" + ", ".join(f"{name!r}: ..." for name in names) + "}"
