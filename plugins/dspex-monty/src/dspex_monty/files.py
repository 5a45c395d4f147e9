"""What code sees of files: those that it was given, to read."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_monty import NOT_HANDLED, MemoryFile, OSAccess

_READS = frozenset(
    {f"Path.{name}" for name in ("exists", "is_file", "is_dir", "is_symlink", "read_text", "read_bytes")}
    | {f"Path.{name}" for name in ("iterdir", "scan", "stat", "resolve", "absolute")}
    | {"open", "os.getenv", "os.environ"}
)


def reader(files: Mapping[str, bytes]) -> Callable[..., Any]:
    """Answers the calls of code to its system: files of these names, an empty environment, and no to all else.

    What code wrote would lie in the memory of this process, where no limit holds it.
    """
    access = OSAccess([MemoryFile(f"/{name.lstrip('/')}", content) for name, content in files.items()])

    def answer(*, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], **more: Any) -> Any:
        if name not in _READS or (name == "open" and not _is_read(args, kwargs)):
            return NOT_HANDLED
        return access(name=name, args=args, kwargs=kwargs, **more)  # type: ignore[arg-type]  # it is one of its names

    return answer


def _is_read(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bool:
    mode = args[1] if len(args) > 1 else kwargs.get("mode", "r")
    return not set(str(mode)) - set("rbt")
