"""ProgramOfThought: an answer worked out by a program that the model writes, run in a sandbox."""

from collections.abc import Mapping, Sequence
from typing import Any, overload

import msgspec

from dspex.app.app import current_app
from dspex.app.sandbox import sandbox_for
from dspex.core.errors import AdapterParseError, CodeError, ConfigurationError
from dspex.core.example import Prediction
from dspex.core.sandbox import SandboxLimits
from dspex.plugin.contracts import Sandbox
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.code_running import (
    SUBMIT,
    Submission,
    Submitted,
    code_in,
    recipe,
    refuse_names,
    with_last_value,
    with_words,
)
from dspex.program.fields import InputField, OutputField
from dspex.program.fitting import unread
from dspex.program.signature import Signature, make_signature, signature_class
from dspex.program.trajectory import short
from dspex.program.typed import P, Q, S_co, SignatureClass, SignatureModule, T
from dspex.program.values import render
from dspex.runtime.callbacks import Emission

_TAKEN = frozenset("generated_code previous_code error final_generated_code code_output reasoning".split())
_NOTHING = f"The program gave nothing: it has to call {SUBMIT}, or end with a value."


class _Try(msgspec.Struct, frozen=True):
    code: str
    output: str = ""
    error: str = ""


class ProgramOfThought(SignatureModule[P, S_co]):
    """Has a program written and run, up to `max_iters` times until one ends well, and makes the outputs of what it gave.

    The predictors are `code_generate.predict`, `code_regenerate.predict`, which sees the program before and its error, and
    `generate_output.predict`. A program hands its result in by `SUBMIT({...})`, a dict of the outputs; without that the
    value of its last line counts, else what it printed. It runs in a `sandbox`, a plugin's name or an object with
    `run`; None: that of the settings, else one that is installed. It is bounded by `limits`.

    Raises SandboxError, before any call, where there is none; CodeError, which is a RuntimeError too, with `code` and
    `error` when no program ended well; ConfigurationError for names that are taken; InputError and LMError classes.
    """

    @overload
    def __init__(
        self: "ProgramOfThought[Q, T]",
        signature: SignatureClass[Q, T],
        max_iters: int = 3,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "ProgramOfThought[..., T]",
        signature: type[T],
        max_iters: int = 3,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "ProgramOfThought[..., Prediction]",
        signature: str | Mapping[str, Any],
        max_iters: int = 3,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    def __init__(
        self,
        signature: Any,
        max_iters: int = 3,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        own = signature_class(signature)
        refuse_names(own.fields, _TAKEN, "A ProgramOfThought")
        if max_iters < 1:
            raise ConfigurationError(f"max_iters={max_iters}: a program is written at least once.")
        self.signature = own
        self.max_iters = max_iters
        self.sandbox = sandbox
        self.limits = limits or SandboxLimits()
        self.code_generate = ChainOfThought(_generate(own))
        self.code_regenerate = ChainOfThought(_regenerate(own))
        self.generate_output = ChainOfThought(_answer(own))

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One result, with the reasoning of its last step."""
        sandbox = sandbox_for(self.sandbox, "ProgramOfThought")
        last, asked, given = _Try(""), self.code_generate, kwargs
        for _ in range(self.max_iters):
            last = await self._tried(sandbox, asked, given)
            if not last.error:
                break
            asked, given = self.code_regenerate, {**kwargs, "previous_code": last.code, "error": last.error}
        else:
            raise CodeError(
                f"None of {self.max_iters} programs ended well (max_iters={self.max_iters}). The last error: "
                f"{short(last.error, 500)}",
                code=last.code,
                error=last.error,
            )
        prediction: Prediction = await self.generate_output.acall(
            **kwargs, final_generated_code=last.code, code_output=last.output
        )
        return prediction

    async def _tried(self, sandbox: Any, asked: ChainOfThought[Any, Any], given: Mapping[str, Any]) -> _Try:
        signature = with_words(asked.predict.signature, getattr(sandbox, "about", ""))
        try:
            reply: Any = await asked.acall(signature=signature, **given)
        except AdapterParseError as error:
            return _Try(short(error.lm_response, self.limits.output), error=unread(error))
        try:
            code = code_in(reply.generated_code)
        except ValueError as error:
            return _Try(render(reply.generated_code), error=f"The program cannot be read: {error}.")
        submit = Submission(list(self.signature.output_fields))
        try:
            async with Emission(
                current_app().settings.callbacks, "interpreter_execute", sandbox, {"code": code}
            ) as told:
                told.outputs = output = await sandbox.run(
                    with_last_value(code), tools={SUBMIT: submit}, limits=self.limits
                )
        except Submitted as submitted:
            return _Try(code, render(submitted.values))
        text = output.stdout if output.value is None else render(output.value)
        return _Try(code, text, output.error or ("" if text else _NOTHING))

    def _recipe(self) -> dict[str, Any] | None:
        return recipe(self)

    def _traits(self) -> Mapping[str, Any]:
        return {"max_iters": self.max_iters, "sandbox": self.sandbox, "limits": msgspec.to_builtins(self.limits)}


def _names(fields: Mapping[str, Any]) -> str:
    return ", ".join(f"`{name}`" for name in fields)


def _generate(own: type[Signature]) -> Any:
    outputs = _names(own.output_fields)
    result = ", ".join(f'"{name}": ...' for name in own.output_fields)
    fields = {**own.input_fields, "generated_code": (str, OutputField(desc="the program, in one fenced block"))}
    return make_signature(
        fields,
        f"{own.instructions}\n\nDo not answer: write a Python program that works out {outputs}. It is run as it stands, with "
        f"nothing but what it contains, so write the inputs that it needs into it. It ends with `{SUBMIT}({{{result}}})`, a "
        "function that is there without an import.",
        own.__name__,
    )


def _regenerate(own: type[Signature]) -> Any:
    generate = _generate(own)
    fields = {
        **own.input_fields,
        "previous_code": (str, InputField(desc="a program for this that failed")),
        "error": (str, InputField(desc="how it failed")),
        "generated_code": generate.output_fields["generated_code"],
    }
    words = "An earlier program failed. Find out why, and write a whole new one that does not."
    return make_signature(fields, f"{generate.instructions}\n\n{words}", own.__name__)


def _answer(own: type[Signature]) -> Any:
    fields = {
        **own.input_fields,
        "final_generated_code": (str, InputField(desc="a program that was written for this")),
        "code_output": (str, InputField(desc="what it gave when it was run")),
        **own.output_fields,
    }
    words = f"A program was run for this. Give {_names(own.output_fields)} as it found them."
    return make_signature(fields, f"{own.instructions}\n\n{words}", own.__name__)
