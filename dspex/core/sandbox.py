"""What code that a model wrote may use, and what comes of running it."""

from typing import Any

import msgspec

from dspex.core.errors import ConfigurationError


class SandboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run of code; raises ConfigurationError for one that is not positive.

    `seconds` are those that the code itself runs or waits, not those of the tools it calls; `memory` is in bytes, of one
    process; `output` in characters, for the standard output, the value and the error each; `processes` counts threads
    too, where the sandbox has any; `calls` are those of tools.
    """

    seconds: float = 10.0
    memory: int = 256 << 20
    output: int = 20_000
    processes: int = 16
    calls: int = 1_000

    def __post_init__(self) -> None:
        for name, value in msgspec.structs.asdict(self).items():
            if not value > 0:
                raise ConfigurationError(f"SandboxLimits({name}={value!r}): a limit is more than 0.")


class Output(msgspec.Struct, frozen=True):
    """What a run of code gave.

    `stdout` has what it printed, standard error too; `value` that of its last line, if it is an expression, as JSON data (what
    has no form in JSON, as a text); `error` the kind of error and its words, with the lines of the code where it arose, or
    nothing; `truncated` says that one of the three was longer. `lost`: a session's variables went with it, as a limit was met.
    """

    stdout: str = ""
    value: Any = None
    error: str = ""
    truncated: bool = False
    lost: bool = False
