"""Programs on disk: JSON with DSPy's keys, checked before anything changes, written whole or not at all."""

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from dspex.core.errors import DspexError, MissingPredictor, ProgramFileError, ProgramFileMissing
from dspex.core.evidence import Evidence

FORMAT = 1
METADATA = "metadata"


def save_file(program: Any, path: str | Path, *, whole: bool = False) -> None:
    """Write a program's state beside what it is, versions and evidence; holds no time, so equal programs are equal files.

    Raises ProgramFileError, with `whole` also where `load` could not make the program of the file.
    """
    write_atomically(path, file_of(program, path, whole=whole))


def file_of(program: Any, path: str | Path, *, whole: bool = False) -> bytes:
    """What `save_file` writes. Raises as that does, naming the path."""
    import json

    try:
        state = program.dump_state()
        json.dumps(state, allow_nan=False, ensure_ascii=False).encode()  # a NaN would be written as null
    except (TypeError, ValueError, RecursionError) as error:
        raise ProgramFileError(
            f"{path} cannot be written: a part of the program has no form in JSON: {error}."
        ) from error
    if METADATA in state:
        raise ProgramFileError(
            f"{path} cannot be written: what a file says of itself stands under {METADATA!r}, so no predictor may. "
            "Call that attribute otherwise."
        )
    if list(state) == ["self"]:
        state = state["self"]
    from dspex.program.provenance import obstacles, provenance

    metadata = {"version": FORMAT, **provenance(program)}
    if whole and (lacking := [*obstacles(metadata["program"])]):
        raise ProgramFileError(
            f"{path} was not written, as dspex.load could not make the program of it: {'; '.join(lacking)}. Without "
            "whole=True the state is saved, to be loaded into a program that you make."
        )
    if program.evidence is not None:
        metadata["evidence"] = msgspec.to_builtins(program.evidence)
    encoded = msgspec.json.encode({**state, METADATA: metadata})
    return msgspec.json.format(encoded, indent=2) + b"\n"


def refuse_pickle(wanted: Any) -> None:
    """Raise ProgramFileError where a program is to be saved with its code."""
    if wanted:
        raise ProgramFileError(
            "save_program= and modules_to_serialize= write pickle, which dspex does not. Save to a .json file: "
            "dspex.load makes the program from it, its own classes too where allow= names their package."
        )


def refuse_endpoints(wanted: bool) -> None:
    """Raise ProgramFileError where the address of a model is to be taken from a file."""
    if wanted:
        raise ProgramFileError(
            "allow_unsafe_lm_state=True would send prompts, and the key, wherever the file says. Load without it, and "
            "give the LM: program.set_lm(dspex.LM(..., api_base=...))."
        )


def write_atomically(place: str | Path, data: bytes) -> None:
    """Replace a file by new bytes, mode 0600; on any error the old file stays. Raises ProgramFileError.

    A pipe or a terminal is written to, as `/dev/stdout` is: a file in its place is not what its reader waits for.
    """
    import tempfile

    path = Path(place)
    try:
        if path.is_fifo() or path.is_char_device():
            path.write_bytes(data)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise ProgramFileError(f"{path} cannot be written: {error}. Nothing was changed.") from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        Path(temporary).unlink(missing_ok=True)
        raise ProgramFileError(f"{path} cannot be written: {error}. The old file, if any, is unchanged.") from error


def load_file(program: Any, path: str | Path) -> None:
    """Read a state and its evidence into a program. Raises ProgramFileError naming the file and the cause."""
    state, metadata = read_file(path)
    take_over(program, path, state, metadata)
    _warn_of_others(program, path, metadata)


def take_over(program: Any, path: str | Path, state: dict[str, Any], metadata: dict[str, Any]) -> None:
    """Give a program a file's state and evidence, all or nothing. Raises ProgramFileError naming the file and the cause."""
    found = metadata.get("evidence")
    try:
        evidence = None if found is None else msgspec.convert(found, Evidence)
        load_state(program, state)
    except msgspec.ValidationError as error:
        raise ProgramFileError(f"{path}: its evidence is damaged: {error}.") from error
    except ProgramFileError as error:
        raise type(error)(f"{path}: {error}") from error
    program.evidence = evidence


def _warn_of_others(program: Any, path: str | Path, metadata: dict[str, Any]) -> None:
    if "signatures" not in metadata:
        return
    from dspex.program.provenance import mismatches

    for fault in mismatches(program, metadata):
        warnings.warn(f"{path}: {fault}. Its demos may not fit.", RuntimeWarning, stacklevel=4)


def read_file(path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """State and metadata of a saved program. Raises ProgramFileError naming the file and the cause."""
    if (Path(path) / "program.pkl").exists():
        raise ProgramFileError(
            f"{path} is a program that DSPy wrote as pickle, which dspex does not run. Save it in DSPy once more, by "
            "program.save('program.json'), and load that into the same program made here."
        )
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        kind = ProgramFileMissing if isinstance(error, FileNotFoundError) else ProgramFileError
        raise kind(f"{path} cannot be read: {error.strerror or error}.") from error
    return read_bytes(content, path)


def read_bytes(written: bytes, path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The same of a file's content."""
    try:
        content = msgspec.json.decode(written)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProgramFileError(f"{path} is no saved program: {error}.") from error
    if not isinstance(content, dict):
        raise ProgramFileError(f"{path} is no saved program: it holds a {type(content).__name__}, not an object.")
    metadata = content.pop(METADATA, None) or {}
    if not isinstance(metadata, dict) or metadata.get("version", FORMAT) != FORMAT:
        raise ProgramFileError(f"{path} has format {metadata!r:.80}; this dspex reads format {FORMAT}.")
    return content, metadata


def load_state(program: Any, state: dict[str, Any]) -> None:
    """Give each predictor its state, all or nothing; a state of one bare predictor has its keys at the top.

    Raises ProgramFileError for what is no state of this program.
    """
    if not isinstance(state, Mapping):
        raise ProgramFileError(f"A state is what dump_state gives, a dict by predictor, not {state!r:.80}.")
    parts = program.named_parameters()
    if [path for path, _ in parts] == ["self"] and "self" not in state and "demos" in state:
        state = {"self": state}
    missing = [path for path, _ in parts if path not in state]
    if missing:
        raise MissingPredictor(
            f"The saved program has no predictor {', '.join(map(repr, missing))}; it has: {', '.join(state) or 'none'}."
        )
    loads = []
    for path, part in parts:
        try:
            loads.append(part.prepare_state(state[path]))
        except (DspexError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ProgramFileError(f"The state of predictor {path!r} does not fit: {error}") from error
    for apply in loads:
        apply()
