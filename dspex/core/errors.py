"""The error hierarchy: one root, and beside each class the built-in that DSPy raises in the same place.

DspexError
├── LMError                    a call to a model failed
│   ├── RateLimited            429, or a local queue that is full (`.retry_after` in seconds)
│   ├── LMTimeout              a deadline or an idle bound passed
│   ├── Unavailable            the endpoint could not be reached or answered 5xx
│   ├── AuthError              401, 403
│   ├── BadRequest             400, 404, 422 ... or a capability that the provider lacks
│   │   └── ContextWindowExceeded
│   ├── ContentFiltered        refused by a policy
│   ├── ProtocolError          a truncated or malformed reply (`.partial` keeps what came)
│   ├── CircuitOpen            failing fast, nothing was sent
│   └── FallbackFailed         no model of a Fallback answered (`.errors` has the failure of each)
├── AdapterParseError          a reply that does not fit the signature
├── PluginError                a plugin broke its contract
│   └── ExecutorFailed         an executor broke its contract, or can do no more work
├── RemoteError                what a program raised in another process, where that is no class of dspex
│   └── WorkerLost             a worker died of it, or with it, too often
├── ConfigurationError         a setting, name or argument is wrong
│   └── MissingPlugin          dspex.NAME is offered by no installed plugin
├── SignatureError             a signature is wrong, shown with a caret
│   └── SignatureTypeError
├── InputError                 a call lacks an input, or has one of the wrong name or type
│   └── MediaFileMissing
├── BudgetExceeded             the next attempt would pass a budget
│   └── DeadlineExceeded       the time of `dspex.deadline` is over
├── JournalError               a run folder is damaged, foreign or owned by another process
├── CassetteError              a cassette is damaged, foreign, of another version, or in use
│   └── CassetteMiss           a run asks for what its cassette does not have
├── EvaluationError            too many examples failed, or one carries no inputs
├── DatasetError               a file of examples is damaged, or lacks a field (`.path`, `.line`, `.column`)
├── RetrieverError
├── SandboxError
│   └── CodeError
├── ToolError                  a tool failed
│   └── ToolInputError         a tool is unknown, or was called with arguments that do not fit
├── ProgramFileError           a saved program cannot be read, or does not fit
│   ├── MissingPredictor
│   └── ProgramFileMissing
├── SupervisorFailed           a background service died more often than it may be restarted
└── RecursionLimit             modules nested too deep
"""

from typing import Any


class DspexError(Exception):
    """Root of all errors that dspex raises on purpose."""


class LMError(DspexError):
    """A call to a language model failed.

    `attempts` counts all attempts of the logical call; `retry_after` is in seconds.
    """

    def __init__(
        self,
        message: str = "",
        *,
        model: str | None = None,
        provider: str | None = None,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after: float | None = None,
        attempts: int = 0,
        partial: str | None = None,
        retryable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.model = model
        self.provider = provider
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after = retry_after
        self.attempts = attempts
        self.partial = partial
        self.retryable = retryable

    def __str__(self) -> str:
        where = f"[{self.model}] " if self.model else ""
        tried = f" (after {self.attempts} attempts)" if self.attempts > 1 else ""
        return f"{where}{self.message}{tried}"


class RateLimited(LMError):
    """The endpoint, or a local queue, takes no more requests now."""


class LMTimeout(LMError, TimeoutError):
    """The call's deadline, or a bound on silence, has passed."""


class Unavailable(LMError):
    """The endpoint could not be reached, or failed on its side."""


class AuthError(LMError):
    """The key is missing, wrong or not allowed to do this."""


class BadRequest(LMError, ValueError):
    """The endpoint refuses the request as it is; sending it again will not help."""


class ContextWindowExceeded(BadRequest):
    """The prompt is longer than the model can read."""


class ContentFiltered(LMError):
    """A content policy stopped the request or its reply."""


class ProtocolError(LMError):
    """The reply is truncated, malformed or beyond a size limit."""


class CircuitOpen(LMError):
    """The endpoint failed too often just now; nothing was sent."""


class FallbackFailed(LMError):
    """No model of a Fallback answered; `errors` holds the failure of each, in order."""

    def __init__(self, message: str = "", *, errors: tuple[DspexError, ...] = (), **more: Any) -> None:
        super().__init__(message, **more)
        self.errors = errors


class AdapterParseError(DspexError):
    """A completion does not fit the signature; `lm_response` keeps it whole.

    `reason` is "length" for a reply that max_tokens cut, "missing" or "value" for the `field` that is absent or cannot
    be read, "form" for a reply without the adapter's form. `usage` (a Usage) sums what all its calls took.
    """

    def __init__(
        self,
        message: str = "",
        *,
        adapter_name: str = "",
        signature: Any = None,
        lm_response: str = "",
        parsed_result: Any = None,
        field: str | None = None,
        reason: str | None = None,
        usage: Any = None,
    ) -> None:
        if not message:  # as own adapters may raise it
            wanted = ", ".join(getattr(signature, "output_fields", ()))
            message = f"{adapter_name or 'The adapter'} cannot read the reply: {lm_response[:200]!r}"
            message += f". It should give: {wanted}." if wanted else ""
        super().__init__(message)
        self.message = message
        self.usage = usage
        self.adapter_name = adapter_name
        self.signature = signature
        self.lm_response = lm_response
        self.parsed_result = parsed_result
        self.field = field
        self.reason = reason


class PluginError(DspexError):
    """A plugin is broken, or broke its contract during a call; `__cause__` has its own error."""

    def __init__(self, message: str = "", *, plugin: str | None = None, attempts: int = 0) -> None:
        super().__init__(message)
        self.plugin = plugin
        self.attempts = attempts


class ExecutorFailed(PluginError):
    """An executor broke its contract, or can do no more work, so the evaluation ends; what was finished is kept."""


class RemoteError(DspexError):
    """What a program raised in another process; the class bears the name of what was raised there, a note its traceback."""


class WorkerLost(RemoteError):
    """Each worker that was given this example died before it was done."""


class ConfigurationError(DspexError, ValueError):
    """A setting, a name or an argument is wrong."""


class MissingPlugin(ConfigurationError, AttributeError):
    """A name of the `dspex` module that a plugin would offer, were it installed."""


class SignatureError(DspexError, ValueError):
    """A signature is wrong; the message shows its text with a caret at the fault."""


class SignatureTypeError(SignatureError, TypeError):
    """A field of a class signature is not marked as input or output."""


class InputError(DspexError, ValueError):
    """A call lacks an input, names an unknown one, or has a value of the wrong type."""


class MediaFileMissing(InputError, FileNotFoundError):
    """There is no such file of a picture, a sound or a document."""

    __str__ = Exception.__str__


class BudgetExceeded(DspexError):
    """The next attempt would pass a budget, so it was not sent.

    `unit` is "calls", "tokens", "usd" or "seconds"; `limit` and `spent` are in that unit.
    """

    def __init__(self, message: str = "", *, unit: str = "", limit: float = 0.0, spent: float = 0.0) -> None:
        super().__init__(message)
        self.unit = unit
        self.limit = limit
        self.spent = spent


class DeadlineExceeded(BudgetExceeded, TimeoutError):
    """The time that `dspex.deadline` gives a block is over: what ran has been cancelled, and nothing more is sent."""


class JournalError(DspexError):
    """A run folder is damaged, belongs to another run, is full or is owned by another process."""


class CassetteError(DspexError):
    """A cassette is damaged, of another version or no cassette, cannot be written, or is in use."""


class CassetteMiss(CassetteError):
    """A run asks for what its cassette does not have; the message shows the nearest recorded request."""


class EvaluationError(DspexError):
    """Too many examples failed, or one cannot be evaluated at all; `best` holds the best program so far, if any."""

    def __init__(self, message: str = "", *, best: Any = None) -> None:
        super().__init__(message)
        self.best = best


class DatasetError(DspexError, ValueError):
    """A file of examples is damaged, or lacks a field.

    `line` and `column` count from 1; in what has no lines (parquet, arrays, tables) `line` is the row, and in CSV the
    column is a cell.
    """

    def __init__(
        self, message: str = "", *, path: str = "", line: int | None = None, column: int | None = None
    ) -> None:
        super().__init__(message)
        self.path = path
        self.line = line
        self.column = column


class RetrieverError(DspexError):
    """A retriever failed."""


class SandboxError(DspexError):
    """Code could not be run in its sandbox."""


class CodeError(SandboxError, RuntimeError):
    """The code that a model wrote failed each time; `code` and `error` are those of the last."""

    def __init__(self, message: str = "", *, code: str = "", error: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.error = error


class ToolError(DspexError, RuntimeError):
    """A tool failed; `__cause__` has its own error."""


class ToolInputError(ToolError, InputError):
    """There is no tool of that name, or its arguments do not fit; the message is fit for the model to read."""


class ProgramFileError(DspexError, ValueError):
    """A saved program cannot be read, or does not fit the program it is loaded into."""


class MissingPredictor(ProgramFileError, KeyError):
    """A saved program lacks a predictor that the program has."""

    __str__ = Exception.__str__


class ProgramFileMissing(ProgramFileError, FileNotFoundError):
    """There is no such file of a saved program."""

    __str__ = Exception.__str__


class RecursionLimit(DspexError):
    """Modules call each other deeper than `dspex.Module.MAX_DEPTH`."""


class SupervisorFailed(DspexError):
    """A background service died more often than it may be restarted; `child` is the last that died."""

    def __init__(self, message: str = "", *, supervisor: str = "", child: str = "") -> None:
        super().__init__(message)
        self.supervisor = supervisor
        self.child = child
