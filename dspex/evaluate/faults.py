"""Errors that cross from one process into another: told as data there, raised here as what they were."""

import traceback
from typing import Any

from dspex.core import errors
from dspex.core.errors import AdapterParseError, BudgetExceeded, DspexError, LMError, RemoteError
from dspex.plugin.executors import Fault

MOST = 20_000  # characters of a message or a traceback
OURS = errors.__name__


def fault_of(error: BaseException, *, is_short: bool = False) -> Fault:
    """An error as data."""
    kind = type(error)
    family = next((one.__name__ for one in kind.__mro__ if one.__module__ == OURS), "")
    return Fault(
        f"{kind.__module__}.{kind.__qualname__}",
        _sendable(str(error)),
        family,
        _sendable("".join(traceback.format_exception(error))),
        _details(error),
        is_short,
    )


def error_of(fault: Fault) -> Exception:
    """The error again: of the same class of dspex's where it had one, else a RemoteError of the same name."""
    family = getattr(errors, fault.family, RemoteError) if fault.family else RemoteError
    if not (isinstance(family, type) and issubclass(family, DspexError)):
        family = RemoteError
    name = fault.kind.rpartition(".")[2] or family.__name__
    kind = family if name == family.__name__ else type(name, (family,), {"__module__": fault.kind.rpartition(".")[0]})
    made: DspexError = kind(fault.message)
    if isinstance(made, (AdapterParseError, BudgetExceeded)):
        vars(made).update({name: value for name, value in fault.details.items() if name in vars(made)})
    if fault.traceback:
        made.add_note(f"In a worker:\n{fault.traceback.rstrip()}")
    return made


def _details(error: BaseException) -> dict[str, Any]:
    if isinstance(error, AdapterParseError):
        return {"lm_response": _sendable(error.lm_response), "field": error.field, "reason": error.reason}
    if isinstance(error, BudgetExceeded):
        return {"unit": error.unit, "limit": error.limit, "spent": error.spent}
    return {"retryable": error.retryable} if isinstance(error, LMError) else {}


def _sendable(text: str) -> str:
    return text[:MOST].encode(errors="replace").decode()
