"""CodeAct: an agent that works by writing code, piece by piece, with its tools as functions in it."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any, overload

import msgspec

from dspex.app.sandbox import sandbox_for
from dspex.core.errors import ConfigurationError
from dspex.core.example import Prediction
from dspex.core.sandbox import SandboxLimits
from dspex.plugin.contracts import Sandbox
from dspex.program.agent_journal import Memory, opened, run_words
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.code_pieces import Pieces, Written, extracted, written
from dspex.program.code_running import code_in, code_tools, described, recipe, refuse_names, told, with_words
from dspex.program.fields import InputField, OutputField
from dspex.program.fitting import TRAJECTORY, Fitting, Summarise
from dspex.program.predict import Predict
from dspex.program.signature import Signature, make_signature, signature_class
from dspex.program.trajectory import Trajectory
from dspex.program.typed import AgentModule, P, Q, S_co, SignatureClass, T
from dspex.program.types.tool import tools_by_name

_TAKEN = frozenset("trajectory max_iters run_dir generated_code finished".split())


class CodeAct(AgentModule[P, S_co]):
    """Writes pieces of code for at most `max_iters` turns, sees what each gave, then gives the signature's outputs.

    `tools` are functions, sync or async, or Tools; the code calls them by their names, and they run here, outside of the
    sandbox. What one piece defines the next one finds. The predictors are `codeact` and `extractor.predict`; the prediction
    has the outputs, `reasoning`, and `trajectory`: a dict of `generated_code_0` and `code_output_0`, or `observation_0`
    where the code failed or could not be read, and so on.

    `sandbox` is a plugin's name, or an object with `session`; None: that of the settings, else one that is installed.
    `limits` bound each piece. Of a trajectory beyond `max_trajectory` characters the older half is summed up, by the
    model or by `summarise(text, max_characters)`. With `run_dir` a call is kept in a folder, and goes on where it was
    killed: no model is asked and no tool is called again; finished pieces may be, for what they defined. Raises SandboxError, before any call, where there is no sandbox;
    ConfigurationError for names that are taken; InputError, AdapterParseError and LMError classes.
    """

    @overload
    def __init__(
        self: "CodeAct[Q, T]",
        signature: SignatureClass[Q, T],
        tools: Sequence[Any],
        max_iters: int = 5,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "CodeAct[..., T]",
        signature: type[T],
        tools: Sequence[Any],
        max_iters: int = 5,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "CodeAct[..., Prediction]",
        signature: str | Mapping[str, Any],
        tools: Sequence[Any],
        max_iters: int = 5,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    def __init__(
        self,
        signature: Any,
        tools: Sequence[Any],
        max_iters: int = 5,
        *,
        sandbox: Sandbox | str | None = None,
        limits: SandboxLimits | None = None,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        own = signature_class(signature)
        refuse_names(own.fields, _TAKEN, "A CodeAct")
        if max_iters < 0 or max_trajectory < 1:
            raise ConfigurationError("An agent's max_iters is at least 0, its max_trajectory at least 1.")
        self.signature = own
        self.max_iters = max_iters
        self.tools = tools_by_name(tools)
        self.sandbox = sandbox
        self.limits = limits or SandboxLimits()
        self.max_trajectory = max_trajectory
        self.summarise = summarise
        self.codeact = Predict(_codeact(own))
        found = InputField(desc="pieces of code that were run for this, and what each gave")
        self.extractor = ChainOfThought(own.append("trajectory", found, str))

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One run; `max_iters` may be given for it, and `run_dir`, the folder in which it is kept."""
        max_iters, folder = run_words(kwargs, self.max_iters)
        sandbox = sandbox_for(self.sandbox, "CodeAct", session=True)
        inputs = {name: value for name, value in kwargs.items() if name in self.signature.input_fields}
        with closing(opened(folder, self, inputs)) as memory:
            return await _Run(self, kwargs, memory, sandbox).result(max_iters)

    def _recipe(self) -> dict[str, Any] | None:
        return recipe(self, "max_trajectory")

    def _traits(self) -> Mapping[str, Any]:
        names = ("max_iters", "sandbox", "max_trajectory", "summarise")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return {"tools": list(self.tools.values()), "limits": msgspec.to_builtins(self.limits), **changed}


class _Run:
    """One run: turns until the model is finished."""

    def __init__(self, agent: CodeAct[Any, Any], given: Mapping[str, Any], memory: Memory, sandbox: Any) -> None:
        self._agent = agent
        self._given = given
        self._memory = memory
        self._trajectory = Trajectory(agent.max_trajectory)
        lm = given.get("lm") or agent.codeact.lm
        self._fitting = Fitting(self._trajectory, agent.signature.instructions, lm, agent.summarise, memory)
        about = described(agent.tools.values()), getattr(sandbox, "about", "")
        self._signature = with_words(agent.codeact.signature, *about)
        once = frozenset(name for name, tool in agent.tools.items() if not tool.idempotent)
        session = partial(_session, sandbox, agent.limits)
        self._pieces = Pieces(session, code_tools(agent.tools), memory, once=once)

    async def result(self, most: int) -> Prediction:
        """The outputs, made of what the pieces gave."""
        async with self._pieces:
            for number in range(most):
                said = await written(number, self._memory, self._fitting, self._asked)
                if said.fault:
                    self._failed("", said.fault)
                elif await self._ran(number, said.code) and said.finished:
                    break
        found = await extracted(self._memory, self._fitting, self._agent.extractor.predict, self._answered)
        return Prediction(trajectory=self._trajectory.flat(), **dict(found.items()))

    async def _asked(self, so_far: Trajectory) -> Written:
        given = {**self._given, "trajectory": so_far.text}
        reply: Any = await self._agent.codeact.acall(signature=self._signature, **given)
        return Written(reply.generated_code, finished=reply.finished)

    async def _ran(self, number: int, reply: str) -> bool:
        """Whether a piece of code ended well; what it gave becomes a step."""
        try:
            code = code_in(reply)
        except ValueError as error:
            self._failed("", f"The code cannot be read: {error}.")
            return False
        output = await self._pieces.run(number, code)
        text = told(output)
        if output.error:
            self._failed(code, text)
            return False
        self._trajectory.put({"code": code, "output": text}, {"generated_code": code, "code_output": text})
        return True

    def _failed(self, code: str, text: str) -> None:
        data = {"generated_code": code, "observation": text} if code else {"observation": text}
        self._trajectory.put({"code": code, "failed": text}, data)

    async def _answered(self, so_far: Trajectory) -> Any:
        return await self._agent.extractor.acall(**{**self._given, "trajectory": so_far.text})


def _session(sandbox: Any, limits: SandboxLimits, tools: Mapping[str, Any]) -> Any:
    return sandbox.session(tools=tools, limits=limits)


def _codeact(own: type[Signature]) -> Any:
    outputs = ", ".join(f"`{name}`" for name in own.output_fields)
    fields = {
        **own.input_fields,
        "trajectory": (str, InputField(desc="the code so far, and what each piece gave")),
        "generated_code": (str, OutputField(desc="the next piece of Python, in one fenced block")),
        "finished": (bool, OutputField(desc="whether after this piece nothing is missing any more")),
    }
    return make_signature(
        fields,
        f"{own.instructions}\n\nYou work towards {outputs} by writing Python, piece by piece. Each piece is run, and you see "
        "what it printed and the value of its last line; what it defined is there for the next. Print what you need to "
        f"know. Say that you are finished when all that is needed for {outputs} has been printed; you are asked for "
        f"{outputs} afterwards.",
        own.__name__,
    )
