"""What is sent to an executor, packed here and unpacked there: programs, settings, and values that are more than JSON data."""

import importlib
import math
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import msgspec

from dspex.app.app import App
from dspex.app.sent_lm import lm_as_data, lm_of_data
from dspex.app.settings import APP_WIDE, DEFAULTS
from dspex.core.errors import ConfigurationError, DspexError, InputError, ProgramFileError
from dspex.core.example import Prediction
from dspex.core.identity import canonical, digest, plain
from dspex.plugin.catalog import OWN_ADAPTERS
from dspex.plugin.executors import Artifact, ChunkSettings, RolloutRecord
from dspex.program.fingerprint import fingerprint
from dspex.program.loading import program_of
from dspex.program.module import Module
from dspex.program.provenance import modules_of, obstacles, place_of, said_of
from dspex.program.saving import file_of
from dspex.program.types.history import History
from dspex.program.types.media import Audio, File, Image

# Those that say how a program runs; a retriever, callbacks, middleware and the like belong to the process that has them.
SENT = (
    *("max_reasks", "stop_early", "sandbox", "num_threads", "async_max_workers", "warn_on_type_mismatch"),
    *("allow_tool_async_sync_conversion", "lm_params", "prices", "prefer", "cache"),
)
HOME = "dspex.program.adapters."
Read = Callable[[str, Any], Any]

# Programs


def artifact_of(program: Any) -> Artifact:
    """A program as data. Raises ConfigurationError for one that no other process could make again."""
    if not isinstance(program, Module):
        raise ConfigurationError(f"An executor runs dspex.Modules, which it can make again; {program!r:.80} is none.")
    said = said_of(program)
    if "recipe" not in said:
        _importable(place_of(program))
    elif lacking := [*obstacles(said)]:
        raise ConfigurationError(f"A worker could not make {type(program).__name__} again: {'; '.join(lacking)}.")
    allow = tuple(modules_of(said))
    try:
        file = file_of(program, "The program")
    except ProgramFileError as error:
        raise ConfigurationError(f"{error} So it cannot be sent to an executor.") from error
    return Artifact(digest([file.decode(), allow]), file.decode(), allow)


def program_of_artifact(artifact: Artifact) -> Module:
    """The program again. Raises ProgramFileError."""
    return program_of(artifact.file.encode(), "The program that was sent", artifact.allow)


def check_made_again(program: Module, artifact: Artifact) -> None:
    """Raises ConfigurationError if what a worker would make is another program: asked before anything is paid."""
    try:
        made = program_of_artifact(artifact)
    except DspexError as error:
        raise ConfigurationError(f"A worker could not make {type(program).__name__} again: {error}") from error
    if canonical(_told(made)) != canonical(_told(program)):
        raise ConfigurationError(
            f"A worker would not make the same {type(program).__name__} again: its class, called without arguments, gives "
            "another one (other signatures, LMs, settings or tools). Let a class, or an object at the top of a module, make it whole."
        )


def _told(program: Module) -> Any:
    selectors = [type(getattr(part, "demo_selector", None)).__qualname__ for part in program.predictors()]
    return [fingerprint(program), selectors]


def _importable(place: str) -> str:
    """The module of a place. Raises ConfigurationError where a worker would not find it."""
    module, _, name = place.partition(":")
    if module == "__main__" or "<locals>" in name:
        where = "the script that is run" if module == "__main__" else "a function"
        raise ConfigurationError(
            f"{name} is defined in {where}, where a worker cannot import it: move it to the top of a module of its own."
        )
    return module


# ChunkSettings


def settings_as_data(app: App, overlay: Mapping[str, Any]) -> ChunkSettings:
    """What of an App's settings, and of those laid over them, has a part in how programs run.

    Raises ConfigurationError for an LM or an adapter that is more than data.
    """
    now = {**app.settings.in_force(), **overlay}
    changed = {name: now[name] for name in SENT if name in now and now[name] != DEFAULTS.get(name)}
    if "cache" in changed and not isinstance(changed["cache"], (str, bool)):
        del changed["cache"]  # an object of this process; a worker has that which is installed
    try:
        others = plain(changed)
    except TypeError as error:
        raise ConfigurationError(f"A setting cannot be sent to an executor: {error}.") from error
    whole = {name: others.pop(name) for name in APP_WIDE & others.keys()}
    lm, adapter = now["lm"], now["adapter"]
    sent = ChunkSettings(None if lm is None else lm_as_data(lm), _adapter_as_data(adapter), others, whole)
    if app.redact(text := msgspec.json.encode(sent).decode()) != text:
        raise ConfigurationError("A setting holds an API key, and keys never travel: take it out of the LM's keywords.")
    return sent


def overlay_of(settings: ChunkSettings) -> dict[str, Any]:
    """The settings to run tasks under, in a worker."""
    lm = None if settings.lm is None else lm_of_data(settings.lm)
    return {"lm": lm, "adapter": _adapter_of(settings.adapter), **settings.others}


def _adapter_as_data(adapter: Any) -> Any:
    if adapter is None or isinstance(adapter, str):
        return adapter
    kind = type(adapter)
    if not kind.__module__.startswith(HOME) or kind.__module__.removeprefix(HOME) not in OWN_ADAPTERS:
        raise ConfigurationError(
            f"adapter={adapter!r:.80} cannot be sent to an executor: give it by name, of dspex's own or of a plugin."
        )
    made_with = {name: value for name, value in vars(adapter).items() if name[0] != "_"}
    try:
        return [kind.__module__, kind.__qualname__, plain(made_with)]
    except TypeError as error:
        raise ConfigurationError(f"adapter={adapter!r:.80} cannot be sent to an executor: {error}.") from error


def _adapter_of(data: Any) -> Any:
    if data is None or isinstance(data, str):
        return data
    module, name, made_with = data
    if not str(module).startswith(HOME) or str(module).removeprefix(HOME) not in OWN_ADAPTERS:
        raise ConfigurationError(f"{module} has no adapter of dspex.")
    made = getattr(importlib.import_module(module), name)()
    vars(made).update(made_with)
    return made


# Values


def packed(
    values: Mapping[str, Any], program: Any, *, is_strict: bool = False
) -> tuple[dict[str, Any], dict[str, str]]:
    """Values as JSON data, and for those that are more what reads them again: the path of a predictor that has a field of that name,
    or ":" and one of dspex's own types.

    What no field reads as it was stays data; with `is_strict` it raises InputError. So does what JSON has no form for.
    """
    data: dict[str, Any] = {}
    typed: dict[str, str] = {}
    for name, value in values.items():
        try:
            if is_data(value):
                msgspec.json.encode(value)  # half of a character has no form in it
                data[name] = value
                continue
            data[name] = msgspec.json.decode(msgspec.json.encode(plain(value)))
        except (TypeError, ValueError, RecursionError) as error:
            raise InputError(f"{name!r} cannot be sent between processes: {error}") from error
        readers = {f":{type(value).__name__}": _of_type, **dict(_readers(program, name))}
        found = next((place for place, read in readers.items() if _gives(read, place, data[name], value)), None)
        if found is not None:
            typed[name] = found
        elif is_strict:
            raise InputError(
                f"The input {name!r} is a {type(value).__name__}, and no predictor has an input of that name and type, so a "
                "worker could not make it again. Give plain data, or make it inside the program."
            )
    return data, typed


def unpacked(data: Mapping[str, Any], typed: Mapping[str, str], program: Any) -> dict[str, Any]:
    """The values again. Raises ValueError for what is not of its field's type."""
    made = dict(data)
    for name, place in typed.items():
        read = _of_type if place.startswith(":") else dict(_readers(program, name)).get(place)
        if read is not None and name in made:
            made[name] = read(place, made[name])
    return made


def prediction_of(record: RolloutRecord, program: Any) -> Any:
    """What a program gave in a worker. Raises ValueError for what is not of its field's type."""
    values = unpacked(record.outputs, record.typed, program)
    return values[""] if "" in values else Prediction(values)


def is_data(value: Any) -> bool:
    """Whether it is what JSON gives back as it was."""
    kind = type(value)
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all(map(is_data, value))
    if kind is dict:
        return all(type(key) is str for key in value) and all(map(is_data, value.values()))
    return value is None or kind in (str, int, bool)


def _readers(program: Any, name: str) -> Iterator[tuple[str, Read]]:
    """What reads values of that name, by the paths of the predictors whose field it is."""
    for path, predictor in program.named_predictors():
        field = predictor.signature.compiled.fields.get(name)
        if field is not None:
            yield path, partial(_by_field, field)


def _by_field(field: Any, _place: str, data: Any) -> Any:
    return field.convert(data)


def _of_type(place: str, data: Any) -> Any:
    """One of dspex's own types, which are inputs only and so are read by no field."""
    kind = next((one for one in (Image, Audio, File, History) if f":{one.__name__}" == place), None)
    if kind is None:
        raise ValueError(f"{place!r:.80} names no type of dspex")
    return kind(**data)


def _gives(read: Read, place: str, data: Any, value: Any) -> bool:
    """Whether just this value is read of the data."""
    try:
        made = read(place, data)
        return type(made) is type(value) and bool(made == value)
    except Exception:  # noqa: BLE001  a comparison of the user's type may do anything
        return False
