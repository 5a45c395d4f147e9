"""ReAct: an agent that thinks, calls tools, reads what they give, and answers when it knows enough."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, overload

from dspex.core.errors import AdapterParseError, ConfigurationError, ContextWindowExceeded
from dspex.core.example import Prediction
from dspex.program.agent_journal import Memory, opened, run_words
from dspex.program.chain_of_thought import ChainOfThought
from dspex.program.fields import InputField
from dspex.program.fitting import TRAJECTORY, Fitting, Summarise, unread
from dspex.program.named_functions import function_data, tool_data
from dspex.program.predict import Predict
from dspex.program.react_form import Asker, Turn, agent_signature, asked_of, asker
from dspex.program.signature import signature_class
from dspex.program.tool_use import FINISH, Allowance, ToolUse, agent_tools, allowances
from dspex.program.trajectory import Trajectory
from dspex.program.typed import AgentModule, P, Q, S_co, SignatureClass, T

MAX_IDLE = 3  # turns in a row that bring nothing new before the agent has to answer with what it has

_TAKEN = frozenset("trajectory max_iters run_dir next_thought next_tool_name next_tool_args termination_reason".split())


class ReAct(AgentModule[P, S_co]):
    """Calls `tools` (functions, sync or async, or Tools) for at most `max_iters` turns, then gives the signature's outputs.

    The predictors are `react`, which chooses the calls, and `extract.predict`, which makes the outputs of what was found. The
    prediction has `trajectory`, a dict of `thought_0`, `tool_name_0`, `tool_args_0`, `observation_0` and so on, `reasoning`,
    and `termination_reason`: "finish", "max_iters", "no_call", "idle" (only repeated, refused or unreadable calls for three
    turns) or "context". A tool that fails or is called wrongly, and a reply that cannot be read, are told to the model.

    `max_tool_calls` bounds the calls of each tool in a run (a number, or a dict by name), `max_repeats` how often the same call
    is made. Of a trajectory beyond `max_trajectory` characters the older half is summed up: by the model, or by
    `summarise(text, max_characters)`; `trajectory` keeps all of it. `native` says whether tools go to the provider as
    functions, several at once; None: where the adapter says so, or with no adapter set the model is known to call
    them. Raises ConfigurationError for names that are taken; InputError, AdapterParseError and LMError classes.
    """

    @overload
    def __init__(
        self: "ReAct[Q, T]",
        signature: SignatureClass[Q, T],
        tools: Sequence[Any],
        max_iters: int = 20,
        *,
        max_tool_calls: Allowance = None,
        max_repeats: int | None = 3,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        native: bool | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "ReAct[..., T]",
        signature: type[T],
        tools: Sequence[Any],
        max_iters: int = 20,
        *,
        max_tool_calls: Allowance = None,
        max_repeats: int | None = 3,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        native: bool | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    @overload
    def __init__(
        self: "ReAct[..., Prediction]",
        signature: str | Mapping[str, Any],
        tools: Sequence[Any],
        max_iters: int = 20,
        *,
        max_tool_calls: Allowance = None,
        max_repeats: int | None = 3,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        native: bool | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None: ...
    def __init__(
        self,
        signature: Any,
        tools: Sequence[Any],
        max_iters: int = 20,
        *,
        max_tool_calls: Allowance = None,
        max_repeats: int | None = 3,
        max_trajectory: int = TRAJECTORY,
        summarise: Summarise | None = None,
        native: bool | None = None,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        own = signature_class(signature)
        if taken := sorted(_TAKEN & own.fields.keys()):
            raise ConfigurationError(
                f"An agent has a field {taken[0]!r} of its own: call that of {own.signature!r} otherwise."
            )
        if max_iters < 0 or (max_repeats is not None and max_repeats < 1) or max_trajectory < 1:
            raise ConfigurationError(
                "An agent's max_iters is at least 0; max_repeats and max_trajectory are at least 1."
            )
        self.signature = own
        self.max_iters = max_iters
        self.tools = agent_tools(tools, list(own.output_fields))
        self.max_tool_calls = allowances(max_tool_calls, self.tools)
        self.max_repeats = max_repeats
        self.max_trajectory = max_trajectory
        self.summarise = summarise
        self.native = native
        self.react = Predict(agent_signature(own, list(self.tools)))
        found = InputField(desc="the steps of an agent that worked on this, and what each tool gave")
        self.extract = ChainOfThought(own.append("trajectory", found, str))

    async def aforward(self, **kwargs: Any) -> Prediction:
        """One run; `max_iters` may be given for it, and `run_dir`, the folder in which it is kept."""
        max_iters, folder = run_words(kwargs, self.max_iters)
        form = await asker(self.react, kwargs, self.tools, self.native)
        inputs = {name: value for name, value in kwargs.items() if name in self.signature.input_fields}
        with closing(opened(folder, self, inputs)) as memory:
            run = _Run(self, kwargs, form, memory)
            reason = await run.turns(max_iters)
            found = await run.answer()
        return Prediction(trajectory=run.trajectory.flat(), termination_reason=reason, **dict(found.items()))

    def _recipe(self) -> dict[str, Any]:
        names = ("max_iters", "max_tool_calls", "max_repeats", "max_trajectory", "native")
        tools = [tool_data(tool) for name, tool in self.tools.items() if name != FINISH]
        more = {} if self.summarise is None else {"summarise": function_data("summarise", self.summarise)}
        kept = {name: getattr(self, name) for name in names}
        return {"signature": self.signature.to_json_schema(), "tools": tools, **kept, **more}

    def _traits(self) -> Mapping[str, Any]:
        names = ("max_iters", "max_tool_calls", "max_repeats", "max_trajectory", "summarise", "native")
        changed = {name: getattr(self, name) for name in names if getattr(self, name) not in (None, {})}
        return {"tools": [tool for name, tool in self.tools.items() if name != FINISH], **changed}


ReActV2 = ReAct  # what that had of its own is the way of this one


class _Run:
    """One run of an agent."""

    def __init__(self, agent: ReAct[Any, Any], given: Mapping[str, Any], form: Asker, memory: Memory) -> None:
        self.trajectory = Trajectory(agent.max_trajectory)
        self._agent = agent
        self._given = given
        self._form = form
        self._memory = memory
        self._use = ToolUse(agent.tools, agent.max_tool_calls, agent.max_repeats, memory)
        lm = given.get("lm") or agent.react.lm
        self._fitting = Fitting(self.trajectory, agent.signature.instructions, lm, agent.summarise, memory)

    async def turns(self, most: int) -> str:
        """Take turns until the agent is done or may not go on. Returns why it ended."""
        idle = 0
        for number in range(most):
            turn = await self._turn(number)
            if turn.ends:
                return turn.ends
            if turn.fault:
                self._form.unread(turn.fault)
                self.trajectory.add(turn.thought, "", {}, turn.fault)
                idle += 1
            elif not turn.calls:
                self.trajectory.add(turn.thought, "", {}, "(no tool was called)")
                return "no_call"
            else:
                is_new = await self._act(turn, number)
                if any(call.name == FINISH for call in turn.calls):
                    return "finish"
                idle = 0 if is_new else idle + 1
            if idle == MAX_IDLE:
                return "idle"
        return "max_iters"

    async def _turn(self, number: int) -> Turn:
        """What the model wants, or wanted when it was asked before."""
        key = f"turn/{number}"
        await self._fitting.shorten()
        turn = self._memory.found(key, Turn)
        if turn is None:
            try:
                turn = await self._fitting.ask(self._form.ask)
            except ContextWindowExceeded:
                turn = Turn(ends="context")  # the answer may need a shorter prompt
            except AdapterParseError as error:
                turn = _unread(error)
            self._memory.keep(key, turn)
        return turn

    async def _act(self, turn: Turn, number: int) -> bool:
        """Run a turn's calls. Returns whether any of them was run."""
        results = await self._use.results(turn.calls, number)
        self._form.told(turn, results, self.trajectory)
        for place, (call, result) in enumerate(zip(turn.calls, results, strict=True)):
            thought = "" if place else turn.thought
            self.trajectory.add(thought, call.name, call.args, result.value, begins=place == 0)
        return not all(result.is_refused for result in results)

    async def answer(self) -> Prediction:
        """The outputs, made of what was found."""
        extract, key = self._agent.extract, f"answer/{len(self.trajectory.steps)}"
        kept = self._memory.found(key, dict[str, Any])
        if kept is not None:
            return Prediction.from_dict(kept, extract.predict.signature)

        async def ask(trajectory: Trajectory) -> Prediction:
            found: Prediction = await asked_of(trajectory, extract.acall, extract.predict, self._given)
            return found

        await self._fitting.shorten()
        answer: Prediction = await self._fitting.ask(ask)
        self._memory.keep(key, dict(answer.items()))
        return answer


def _unread(error: AdapterParseError) -> Turn:
    return Turn((error.parsed_result or {}).get("next_thought") or "", fault=unread(error))
