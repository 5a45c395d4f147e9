"""Runs inside: takes code from a socket, runs it, and answers. Its text is given to the inner Python, alone.

It is no wall: code shares its process, and may do all that the process may. The walls are around it.
Each run waits for what this imports: pathlib and socket alone would take a fifth of its start.
"""

import ast
import binascii
import contextlib
import io
import json
import os
import resource
import sys
import traceback
from collections.abc import Callable
from typing import Any


def limit(setup: dict[str, Any]) -> None:
    """Bounds that only root could raise again, and the user of whom nobody else is."""
    for what, most in (
        (resource.RLIMIT_AS, setup["memory"]),
        (resource.RLIMIT_NPROC, setup["processes"]),
        (resource.RLIMIT_CPU, setup["cpu"]),
        (resource.RLIMIT_NOFILE, 256),
        (resource.RLIMIT_CORE, 0),
    ):
        if most:
            resource.setrlimit(what, (most, most))
    if setup["user"]:
        os.setgroups([])
        os.setresgid(setup["user"], setup["user"], setup["user"])
        os.setresuid(setup["user"], setup["user"], setup["user"])


def plain(value: Any) -> Any:
    """A value as JSON data."""
    if value is None or isinstance(value, (bool, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, int):
        return int(value) if value.bit_length() <= 10_000 else hex(value)
    if isinstance(value, float):
        return float(value) if value - value == 0 else str(value)
    if isinstance(value, dict):
        return {key if isinstance(key, str) else str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((plain(item) for item in value), key=str)
    return str(value)


def bounded(value: Any, most: int) -> tuple[Any, bool]:
    """The data of a value, or the beginning of what is too long, and whether it was."""
    try:
        data = plain(value)
        text = json.dumps(data, ensure_ascii=False)
    except (RecursionError, ValueError):
        return "(a value that is nested too deeply, or is part of itself)", True
    if len(text) <= most:
        return data, False
    return (data if isinstance(data, str) else text)[:most], True


def ran(code: str, names: dict[str, Any], most: int) -> dict[str, Any]:
    """Runs code; gives the answer."""
    value: Any = None
    error, is_cut = "", False
    try:
        body = ast.parse(code, "code.py").body
        last = [ast.Expression(one.value) for one in body[-1:] if isinstance(one, ast.Expr)]
        body = body[:-1] if last else body
        exec(compile(ast.Module(body, []), "code.py", "exec"), names)  # noqa: S102  inside the walls, this is what it is for
        for expression in last:
            value = eval(compile(expression, "code.py", "eval"), names)  # noqa: S307  as above
        value, is_cut = bounded(value, most)
    except BaseException as failure:  # noqa: BLE001  whatever the code raises is told of
        value, is_cut, error = None, False, told(failure)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(BaseException):
            stream.flush()
    return {"value": value, "error": error[:most], "cut": is_cut or len(error) > most}


def told(failure: BaseException) -> str:
    """The lines of the code where it arose, and what it is."""
    frames = [frame for frame in traceback.extract_tb(failure.__traceback__) if frame.filename == "code.py"]
    places = [f'  File "code.py", line {frame.lineno}, in {frame.name}\n' for frame in frames]
    if len(places) > 20:
        places[10:-10] = ["  ...\n"]
    try:
        last = "".join(traceback.format_exception_only(type(failure), failure))
    except BaseException:  # noqa: BLE001  an error class of the code: even its text may fail
        last = type(failure).__name__
    return "".join([*(["Traceback (most recent call last):\n"] if places else []), *places, last]).rstrip("\n")


def function(name: str, ask: Callable[[Any], Any]) -> Callable[..., Any]:
    """A tool, as code sees it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        answer = ask({"call": name, "args": plain(args), "kwargs": plain(kwargs)})
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return answer["result"]

    call.__name__ = name
    return call


def main() -> None:
    """Setup, then pieces of code, one after the other."""
    link = int(sys.argv[1])
    heard, spoken = os.fdopen(link, "rb"), os.fdopen(os.dup(link), "wb")

    def say(message: Any) -> None:
        spoken.write(json.dumps(message).encode() + b"\n")
        spoken.flush()

    def ask(message: Any) -> Any:
        say(message)
        return json.loads(heard.readline())

    setup = json.loads(heard.readline())
    for name, content in setup["files"].items():
        os.makedirs(os.path.dirname(name) or ".", exist_ok=True)  # noqa: PTH103, PTH120  pathlib takes its time
        with open(name, "wb") as file:  # noqa: PTH123  as above
            file.write(binascii.a2b_base64(content))
            os.fchmod(file.fileno(), 0o644)
    sys.path[:] = [*setup["paths"], *(path for path in sys.path if path)]
    limit(setup)
    sys.stdin = io.StringIO()
    names = {"__name__": "__main__", **{name: function(name, ask) for name in setup["tools"]}}
    say({"ready": True})
    for line in iter(heard.readline, b""):
        say(ran(json.loads(line)["code"], names, setup["output"]))


main()
