"""RLM: a model that reads inputs too long for a prompt by writing code over them, and asks models about parts."""

import json
import logging
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from keyword import iskeyword
from typing import Any, overload

import msgspec

from dspex.app.sandbox import sandbox_for
from dspex.core.errors import AdapterParseError, ConfigurationError, ToolError
from dspex.core.example import Prediction
from dspex.core.sandbox import SandboxLimits
from dspex.plugin.contracts import CodeTool, Sandbox
from dspex.program.agent_journal import Memory, opened, run_words
from dspex.program.code_pieces import Pieces, Written, extracted, written
from dspex.program.code_queries import Queries
from dspex.program.code_running import (
    SUBMIT,
    Submission,
    Submitted,
    as_data,
    code_in,
    code_tools,
    described,
    recipe,
    refuse_names,
    told,
    with_words,
)
from dspex.program.fields import InputField, OutputField
from dspex.program.fitting import TRAJECTORY, Fitting
from dspex.program.predict import Predict
from dspex.program.signature import Signature, make_signature, signature_class
from dspex.program.trajectory import Trajectory
from dspex.program.typed import AgentModule, P, Q, S_co, SignatureClass, T
from dspex.program.types.tool import tools_by_name
from dspex.program.values import render, type_text

FILE = "inputs.json"
SHOWN = 500  # characters of an input that the prompt shows
FORCED = "max_iters was reached; the outputs were made of the steps."

_FUNCTIONS = ("llm_query", "llm_query_batched", SUBMIT, "print")
_WORDS = ("lm", "config")
_logger = logging.getLogger("dspex.rlm")


class RLM(AgentModule[P, S_co]):
    """Keeps the inputs as variables in a sandbox; the model sees their sizes and beginnings, and writes code over them.

    For at most `max_iters` turns it sees what its code gave, `max_output_chars` at most of each piece. The code has
    `llm_query(prompt)` and `llm_query_batched(prompts)`, which ask `sub_lm` (None: the program's own) up to
    `max_llm_calls` times a run; `tools`, functions or Tools, which run outside of the sandbox; and `SUBMIT(...)`, which ends
    the work with the outputs, checked for their types. The predictors are `generate_action` and, for the case that
    nothing is submitted, `extract`. The prediction has the outputs, `trajectory`, a list of dicts of `reasoning`, `code`
    and `output`, and `final_reasoning`. `verbose` logs each turn to the logger "dspex.rlm".

    `sandbox` is a plugin's name, or an object with `session`; None: that of the settings, else one that is installed.
    `limits` bound each piece of code. With `run_dir` a call is kept in a folder, and goes on where it was killed: no model is
    asked and no tool called again; finished pieces may be run again, for what they defined. Method: Zhang, Kraska & Khattab, Recursive Language Models, 2025. Raises SandboxError,
    before any call, where there is no sandbox; ConfigurationError for names that are taken; InputError and LMError classes.
    """

    @overload
    def __init__(
        self: "RLM[Q, T]",
        signature: SignatureClass[Q, T],
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Any] | None = None,
        sub_lm: Any = None,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "RLM[..., T]",
        signature: type[T],
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Any] | None = None,
        sub_lm: Any = None,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "RLM[..., Prediction]",
        signature: str | Mapping[str, Any],
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Any] | None = None,
        sub_lm: Any = None,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    def __init__(  # noqa: PLR0917  as above
        self,
        signature: Any,
        max_iters: int = 20,
        max_llm_calls: int = 50,
        max_output_chars: int = 10_000,
        verbose: bool = False,
        tools: Sequence[Any] | None = None,
        sub_lm: Any = None,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        own = signature_class(signature)
        self.signature = own
        self.tools = tools_by_name(tools)
        refuse_names([*own.input_fields, *self.tools], _FUNCTIONS, "The code of an RLM")
        refuse_names(own.input_fields, self.tools, "The code of an RLM")
        refuse_names(own.input_fields, ("max_iters", "run_dir"), "The call of an RLM")
        refuse_names(own.output_fields, ("trajectory", "final_reasoning"), "The result of an RLM")
        if unfit := [name for name in self.tools if not name.isidentifier() or iskeyword(name)]:
            raise ConfigurationError(f"The tool {unfit[0]!r} cannot be called in code: give Tool(..., name=).")
        if max_iters < 0 or max_llm_calls < 0 or max_output_chars < 1:
            raise ConfigurationError("max_iters and max_llm_calls are at least 0, max_output_chars is at least 1.")
        self.max_iters = max_iters
        self.max_llm_calls = max_llm_calls
        self.max_output_chars = max_output_chars
        self.verbose = verbose
        self.sub_lm = sub_lm
        self.sandbox = sandbox
        self.limits = msgspec.structs.replace(limits or SandboxLimits(), output=max_output_chars)
        self.generate_action = Predict(_action(own))
        self.extract = Predict(_extract(own))

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One run; `max_iters` may be given for it, and `run_dir`, the folder in which it is kept."""
        max_iters, folder = run_words(kwargs, self.max_iters)
        words = {name: kwargs.pop(name) for name in _WORDS if name in kwargs}
        inputs = self.signature.compiled.check_inputs(kwargs)
        sandbox = sandbox_for(self.sandbox, "RLM", session=True)
        with closing(opened(folder, self, inputs)) as memory:
            return await _Run(self, inputs, words, memory, sandbox).result(max_iters)

    def _recipe(self) -> dict[str, Any] | None:
        return recipe(self, "max_llm_calls", "max_output_chars")

    def _traits(self) -> Mapping[str, Any]:
        names = ("max_iters", "max_llm_calls", "max_output_chars", "sandbox")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"tools": list(self.tools.values()), "limits": msgspec.to_builtins(self.limits), **changed}


class _Run:
    """One run: turns until the code submits."""

    def __init__(
        self, program: RLM[Any, Any], inputs: Mapping[str, Any], words: Mapping[str, Any], memory: Memory, sandbox: Any
    ) -> None:
        self._program = program
        self._words = words
        self._memory = memory
        data = {name: as_data(value) for name, value in inputs.items()}
        self._variables = "\n".join(_shown(name, value) for name, value in data.items())
        about = described(program.tools.values()), getattr(sandbox, "about", "")
        self._about = with_words(program.generate_action.signature, *about)
        self._trajectory = Trajectory(TRAJECTORY)
        lm = words.get("lm") or program.generate_action.lm
        self._fitting = Fitting(self._trajectory, program.signature.instructions, lm, None, memory)
        self._pieces = self._made_pieces(data, sandbox)

    def _made_pieces(self, data: Mapping[str, Any], sandbox: Any) -> Pieces:
        program = self._program
        files = {FILE: json.dumps(data, ensure_ascii=False).encode("utf-8", "replace")}
        submission = Submission(list(program.signature.output_fields), program.signature.compiled.convert_outputs)
        queries = Queries(
            program.sub_lm or self._words.get("lm") or program.generate_action.lm, program.max_llm_calls, self._memory
        )

        def session(tools: Mapping[str, CodeTool]) -> Any:
            every = {**tools, SUBMIT: _checked(submission), **queries.tools}
            return sandbox.session(files=files, tools=every, limits=program.limits)

        setup = "\n".join(["import json", f"_inputs = json.loads(open({FILE!r}).read())", *map(_loaded, data)])
        once = frozenset(name for name, tool in program.tools.items() if not tool.idempotent)
        return Pieces(session, code_tools(program.tools), self._memory, once=once, setup=setup)

    async def result(self, most: int) -> Prediction:
        """The prediction."""
        async with self._pieces:
            if self._memory.found("turn/0", Written) is None:
                await self._pieces.begin()  # what cannot be put into the sandbox is found before it is paid for
            for number in range(most):
                ask = partial(self._asked, f"{number + 1}/{most}")
                said = await written(number, self._memory, self._fitting, ask)
                if said.fault:
                    self._add("", "", said.fault)
                elif (values := await self._submitted(number, said)) is not None:
                    self._add(said.reasoning, render(said.code), f"{SUBMIT}: {render(as_data(values))}")
                    return Prediction(trajectory=self._steps, final_reasoning=said.reasoning, **values)
        found = await extracted(self._memory, self._fitting, self._program.extract, self._answered)
        return Prediction(trajectory=self._steps, final_reasoning=FORCED, **dict(found.items()))

    async def _asked(self, iteration: str, so_far: Trajectory) -> Written:
        reply: Any = await self._program.generate_action.acall(
            signature=self._about,
            **self._words,
            variables_info=self._variables,
            repl_history=so_far.text,
            iteration=iteration,
        )
        return Written(reply.code, reply.reasoning)

    async def _submitted(self, number: int, said: Written) -> dict[str, Any] | None:
        """The outputs, if the piece of code submits them; else what it gave becomes a step."""
        key, fields = f"submitted/{number}", self._program.signature.compiled
        kept = self._memory.found(key, dict[str, Any])
        if kept is not None:
            outputs: dict[str, Any] = fields.convert_outputs(kept)
            return outputs
        try:
            await self._ran(number, said)
        except Submitted as submitted:
            values: dict[str, Any] = submitted.values
            self._memory.keep(key, values)
            return values
        return None

    async def _ran(self, number: int, said: Written) -> None:
        try:
            code = code_in(said.code)
        except ValueError as error:
            self._add(said.reasoning, render(said.code), f"The code cannot be read: {error}.")
            return
        output = await self._pieces.run(number, code)
        self._add(said.reasoning, code, told(output))

    async def _answered(self, so_far: Trajectory) -> Any:
        return await self._program.extract.acall(
            **self._words, variables_info=self._variables, repl_history=so_far.text
        )

    def _add(self, reasoning: str, code: str, output: str) -> None:
        step = {"reasoning": reasoning, "code": code, "output": output}
        self._trajectory.put(step, step)
        if self._program.verbose:
            _logger.info("Step %d\n%s\n%s\n%s", len(self._trajectory.steps), reasoning, code, output)

    @property
    def _steps(self) -> list[dict[str, Any]]:
        return [dict(step.data) for step in self._trajectory.steps]


def _checked(submission: Submission) -> CodeTool:
    async def submit(*positional: Any, **given: Any) -> None:
        try:
            await submission(*positional, **given)
        except AdapterParseError as error:
            raise ToolError(f"{SUBMIT}: {error}") from error

    return submit


def _loaded(name: str) -> str:
    return f"{name} = _inputs[{name!r}]"


def _shown(name: str, value: Any) -> str:
    text = render(value)
    size = f", {len(value)} items" if isinstance(value, list | dict) else ""
    beginning = text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
    indented = beginning.replace("\n", "\n  ")
    return f"- `{name}`: {type(value).__name__}{size}, {len(text)} characters. It begins:\n  {indented}"


def _action(own: type[Signature]) -> Any:
    inputs = ", ".join(f"`{name}`" for name in own.input_fields)
    outputs = "\n".join(
        f"- `{field.name}` ({type_text(field.annotation)}){f': {field.desc}' if field.desc else ''}"
        for field in own.compiled.outputs
    )
    fields = {
        "variables_info": (str, InputField(desc="the inputs: their types, sizes and beginnings")),
        "repl_history": (str, InputField(desc="the code so far, and what each piece gave")),
        "iteration": (str, InputField(desc="which turn this is, of how many")),
        "reasoning": (str, OutputField(desc="what is known by now, and what to do next")),
        "code": (str, OutputField(desc="the next piece of Python, in one fenced block")),
    }
    return make_signature(
        fields,
        f"{own.instructions}\n\nThe inputs {inputs} are variables in a Python session, as they may be too long to be read at "
        "once. Work by writing Python, piece by piece. Each piece is run, and you see what it printed and the value of its last "
        "line; what it defined is there for the next. Look first: sizes, forms, a few beginnings. Find places by code; "
        "what they mean, ask with\n"
        "- `llm_query(prompt)`: a model's reply. It sees the prompt only, so put the text in question into it\n"
        "- `llm_query_batched(prompts)`: a list of replies, asked for at once, which is much faster for many\n\n"
        f"The outputs:\n{outputs}\n\n"
        f"When you have seen that they are right, hand them in by `{SUBMIT}({', '.join(own.output_fields)})`, in a piece of "
        "its own. Pass on variables instead of writing long values again.",
        own.__name__,
    )


def _extract(own: type[Signature]) -> Any:
    fields = {
        "variables_info": (str, InputField(desc="the inputs: their types, sizes and beginnings")),
        "repl_history": (str, InputField(desc="code that was run for this, and what each piece gave")),
        **own.output_fields,
    }
    names = ", ".join(f"`{name}`" for name in own.output_fields)
    words = f"The work had to end before {names} were handed in. Give the best that can be said from what was found."
    return make_signature(fields, f"{own.instructions}\n\n{words}", own.__name__)
