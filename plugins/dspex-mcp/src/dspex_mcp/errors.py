"""What goes wrong with a server itself, and not with a tool of it."""

from dspex import ToolError


class ServerUnavailable(ToolError):
    """A server cannot be reached, or died under a call; `server` is its name.

    A ToolError, so an agent's model is told, and may go on without it.
    """

    def __init__(self, message: str, *, server: str = "") -> None:
        super().__init__(message)
        self.server = server


def reason(error: BaseException) -> str:
    """What happened in the end, below the groups that tasks make of their errors."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f' ({error.filename})' if error.filename else ''}"
    return f"{type(error).__name__}: {error}".rstrip(": ")
