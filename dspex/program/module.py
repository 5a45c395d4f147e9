"""Module: what a user composes; finds its predictors at any depth, runs sync and async, saves and loads."""

import asyncio
import copy
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from dspex.app.accounting import UsageTracker
from dspex.app.app import current_app
from dspex.core.errors import ConfigurationError, RecursionLimit
from dspex.core.example import Prediction
from dspex.runtime.callbacks import Emission
from dspex.runtime.scope import SCOPE, use
from dspex.runtime.stepping import run_stepped
from dspex.runtime.worker_threads import in_thread

if TYPE_CHECKING:
    from pathlib import Path

    from dspex.app.lm import LM
    from dspex.program.batch import Inputs, Outcomes
    from dspex.program.explain import Explanation
    from dspex.program.streaming.events import StreamEvent

STACKED = 20  # levels of modules in one task: each takes some ten frames of the thousand that Python has


class SyncForm:
    """`forward` of a class that wrote `aforward`: the same, waited for. A class below calls it by `super()`."""

    __slots__ = ("_aforward",)

    def __init__(self, aforward: Callable[..., Any]) -> None:
        self._aforward = aforward

    def __get__(self, module: Any, kind: Any = None) -> Any:
        return self if module is None else partial(_waited, module, self._aforward)


class Module:
    """Base of programs. Write `forward`, or `aforward`, or both; call the module, or await its `acall`.

    `acall` of a module that has only `forward` runs it in a thread of its own; calling one that has only `aforward`
    runs it on the background loop. Either way the context goes with it. A class that overrides one of them has that in
    both forms, and calls what it overrides by `super().forward` or `super().aforward`; one that overrides `__call__`
    has that, but for `aforward`, in `acall` too.
    """

    MAX_DEPTH = 100

    callbacks: Sequence[Any] = ()
    evidence: Any = None
    _compiled = False
    _steps = False
    _title = ""  # what it is called where not by its class
    _last_form = ""  # "forward" or "aforward", where the last class that wrote any wrote it alone

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name in ("forward", "aforward") if name in cls.__dict__]
        if own:
            cls._last_form = own[0] if len(own) == 1 else ""
        if own == ["aforward"]:
            cls.forward = SyncForm(cls.__dict__["aforward"])  # type: ignore[attr-defined]  # Module itself has none

    def __init__(self, callbacks: Sequence[Any] | None = None) -> None:
        if callbacks:
            self.callbacks = list(callbacks)

    # Running

    def __call__(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the program and wait for its result."""
        forward = form_of(self, "forward")
        if forward is not None:
            with _Entered(self, args, kwargs) as emission:
                emission.outputs = forward(*args, **kwargs)
            return emission.outputs
        if form_of(self, "aforward") is None:
            raise _formless(self)
        return _result(self, self.acall(*args, **kwargs))

    async def acall(self, /, *args: Any, **kwargs: Any) -> Any:
        """Run the program on the caller's loop."""
        aforward, forward = form_of(self, "aforward"), form_of(self, "forward")
        if aforward is None and type(self).__call__ is not Module.__call__:
            return await _in_time(partial(in_thread, self, *args, **kwargs))()  # what the class wrote is to be run
        if aforward is None and forward is None:
            raise _formless(self)
        async with _Entered(self, args, kwargs) as emission:
            run = _in_time(
                partial(in_thread, forward, *args, **kwargs) if aforward is None else partial(aforward, *args, **kwargs)
            )
            # Modules as deep as they may be would not fit into Python's stack, and a task begins a new one.
            emission.outputs = await (asyncio.create_task(run()) if emission.depth % STACKED == 0 else run())
        return emission.outputs

    # Running on many inputs

    def batch(  # noqa: PLR0917  DSPy's order
        self,
        examples: "Inputs",
        num_threads: int | None = None,
        max_errors: int | None = None,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> Any:
        """`abatch`, waited for. `outcomes` is the same as a stream, whose memory is flat."""
        return current_app().bridge.run(
            self.abatch(examples, num_threads, max_errors, return_failed_examples, provide_traceback)
        )

    async def abatch(  # noqa: PLR0917  as above
        self,
        examples: "Inputs",
        num_threads: int | None = None,
        max_errors: int | None = None,
        return_failed_examples: bool = False,
        provide_traceback: bool | None = None,
        disable_progress_bar: bool = False,
        timeout: float = 120,
        straggler_limit: int = 3,
    ) -> Any:
        """Run it on all examples (Examples, dicts or tuples), `num_threads` at once; results in their order.

        A failed one is None and warned of; with `return_failed_examples` the result is (results, failed examples, their
        errors). At `max_errors` (None: the setting) failures EvaluationError is raised, with `.results` so far. The last
        three arguments are DSPy's and do nothing: no example is ever run twice. `outcomes` is the same as a stream.
        """
        from dspex.program.batch import collected, runs, side_by_side

        limit = side_by_side([self], num_threads)
        return await collected(
            runs(self), examples, limit, max_errors, provide_traceback, return_failed=return_failed_examples
        )

    def outcomes(self, examples: "Inputs", *, num_threads: int | None = None, ordered: bool = True) -> "Outcomes":
        """`batch` as a stream: what comes of each example, for `async for` or `for`, in their order or (`ordered` False) as they end.

        Each outcome has `index`, `example`, `prediction` and `error`, one of the last two None. Examples come from any
        iterable or async iterable, which is read no further than needed, so memory is flat. Leaving the loop cancels what runs.
        """
        from dspex.program.batch import Outcomes, runs, side_by_side

        return Outcomes(runs(self), examples, side_by_side([self], num_threads), ordered=ordered)

    # Streaming

    def astream(self, /, *args: Any, **kwargs: Any) -> "AsyncGenerator[StreamEvent, None]":
        """Run it, and give what happens while it happens: for `async for`, which cancels the run when it is left.

        Events (`dspex.streaming`): FieldDelta for each output of each predictor at any depth, ToolStarted, ToolFinished,
        StatusMessage (with `status_message_provider=` in the settings), Sent, and last Finished with the result, that
        of a plain call. What a call raises is raised behind the events before it.
        """
        from dspex.program.streaming.run import events_of

        return events_of(self, self._streamed(*args, **kwargs)).items()

    def stream(self, /, *args: Any, **kwargs: Any) -> "Generator[StreamEvent, None, None]":
        """`astream` for a plain `for`."""
        from dspex.program.streaming.run import events_of

        return events_of(self, self._streamed(*args, **kwargs)).sync_items()

    def _streamed(self, *args: Any, **kwargs: Any) -> Callable[[], Awaitable[Any]]:
        return partial(self.acall, *args, **kwargs)

    # Parts

    def named_parameters(self) -> list[tuple[str, Any]]:
        """Paths and parameters (Predicts), in order of attributes, at any depth; one object counts once."""
        return [(path, part) for path, part in _walk(self) if isinstance(part, Module) and part.is_parameter]

    is_parameter = False

    def parameters(self) -> list[Any]:
        """The parameters without their paths."""
        return [part for _, part in self.named_parameters()]

    def named_predictors(self) -> list[tuple[str, Any]]:
        """Paths and predictors; the path of a Predict that is the program itself is "self"."""
        return self.named_parameters()

    def predictors(self) -> list[Any]:
        """The predictors without their paths."""
        return self.parameters()

    def named_sub_modules(self, type_: type[Any] | None = None) -> Iterator[tuple[str, Any]]:
        """Paths and modules, of that class if one is given, beginning with ("self", this one).

        A dict's key stands in its path without quotes.
        """
        for path, part in _walk(self, "self", "[{}]"):
            if isinstance(part, type_ or Module):
                yield path, part

    def map_named_predictors(self, function: Callable[[Any], Any]) -> Self:
        """Replace each predictor by `function(predictor)`; a program that is one itself gives what replaces it."""
        replaced = {id(part): function(part) for part in self.predictors()}
        found: Self = _replace(self, replaced, set())
        return found

    def set_lm(self, lm: "LM | None") -> None:
        """Give all predictors the same LM; None: that of the settings."""
        for predictor in self.predictors():
            predictor.lm = lm

    def get_lm(self) -> "LM | None":
        """The LM of all predictors, None if unset. Raises ValueError if they differ."""
        lms = {id(predictor.lm): predictor.lm for predictor in self.predictors()}
        if len(lms) > 1:
            raise ValueError("The predictors of this program use different LMs; ask each predictor for its own.")
        return next(iter(lms.values()), None)

    # Copies and files

    def deepcopy(self) -> Self:
        """A copy with state of its own; LMs, and what cannot be copied, are shared."""
        return copy.deepcopy(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        for name, value in self.__dict__.items():
            try:
                twin.__dict__[name] = copy.deepcopy(value, memo)
            except TypeError:
                twin.__dict__[name] = value
        return twin

    def reset_copy(self) -> Self:
        """A copy whose predictors are as new; it is not compiled, and what a compile found out is not of it."""
        twin = self.deepcopy()
        for predictor in twin.predictors():
            predictor.reset()
        twin._compiled, twin.evidence = False, None
        return twin

    def dump_state(self) -> dict[str, Any]:
        """The state of all predictors, by path, as JSON data."""
        return {path: part.dump_state() for path, part in self.named_parameters()}

    def load_state(self, state: dict[str, Any], *, allow_unsafe_lm_state: bool = False) -> Self:
        """Take a state over; all of it or, with an error, nothing. `allow_unsafe_lm_state` is refused, as by `load`."""
        from dspex.program.saving import load_state, refuse_endpoints

        refuse_endpoints(allow_unsafe_lm_state)
        load_state(self, state)
        return self

    def save(
        self,
        path: "str | Path",
        save_program: bool = False,
        modules_to_serialize: Any = None,
        *,
        whole: bool = False,
    ) -> None:
        """Write the state, and what the program is, as JSON, atomically, readable by this user only.

        With `whole` ProgramFileError says what `dspex.load` could not make again, as a tool that is a lambda, and
        nothing is written; without it such a file is one to load into a program. `save_program` and
        `modules_to_serialize` are DSPy's, for pickled programs: ProgramFileError where they ask for one.
        """
        from dspex.program.saving import refuse_pickle, save_file

        refuse_pickle(save_program or modules_to_serialize)
        save_file(self, path, whole=whole)

    def load(self, path: "str | Path", allow_pickle: bool = False, allow_unsafe_lm_state: bool = False) -> Self:
        """Read a state that `save`, or DSPy, wrote. Raises ProgramFileError that says what does not fit.

        Warns where it was saved for other types of the same fields. `dspex.load` makes the program too. The last two
        arguments are DSPy's: there is no pickle to allow, and an endpoint that a file names is never used, which asking
        for it is told by ProgramFileError.
        """
        from dspex.program.saving import load_file, refuse_endpoints

        refuse_endpoints(allow_unsafe_lm_state)
        load_file(self, path)
        return self

    # What it is

    def _traits(self) -> Mapping[str, Any]:
        """What it was made with beside its parts: a piece of its identity, and shown by `explain`."""
        return {}

    def _recipe(self) -> dict[str, Any] | None:
        """Arguments that make it again, as JSON data; None where they are more than data."""
        return None

    def explain(self) -> "Explanation":
        """Its parts as a tree: signatures, demos, LMs, adapters and the size of their prompts. Prints as text."""
        from dspex.program.explain import explained

        return explained((path, part) for path, part in _walk(self) if isinstance(part, Module))

    def __repr__(self) -> str:
        lines = [f"{path} = {part!r}" for path, part in self.named_parameters() if part is not self]
        return "\n".join([f"{self._title or type(self).__name__}:", *(f"  {line}" for line in lines)])


BaseModule = Module  # DSPy's base of it


class _Entered:
    """The scope of a module's run, and its callbacks if there are any."""

    __slots__ = ("_args", "_emission", "_kwargs", "_module", "_scope", "_tracker", "depth", "outputs")

    def __init__(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._module = module
        self._args, self._kwargs = args, kwargs
        self.outputs: Any = None
        self._tracker: UsageTracker | None = None

    def __enter__(self) -> Self:
        self._begin()
        if self._emission is not None:
            self._emission.__enter__()
        return self

    async def __aenter__(self) -> Self:
        self._begin()
        if self._emission is not None:
            try:
                await self._emission.__aenter__()
            except BaseException as error:  # cancelled while an async callback was told
                self._end(type(error), error, error.__traceback__)
                raise
        return self

    def _begin(self) -> None:
        path = SCOPE.get().path
        name = self._module._title or type(self._module).__name__
        if len(path) >= Module.MAX_DEPTH:
            raise RecursionLimit(
                f"Modules are nested {len(path)} deep, the last being {' > '.join(path[-3:])} > {name}: does one call itself?"
            )
        self.depth = len(path) + 1
        app = current_app()
        settings, scope = app.settings, SCOPE.get()
        if not path and settings.track_usage:
            self._tracker = UsageTracker()
            scope = scope.child(trackers=(*scope.trackers, self._tracker))
        self._scope = use(path=(*path, name), trackers=scope.trackers)
        self._scope.__enter__()
        callbacks = [*settings.callbacks, *self._module.callbacks]
        self._emission = None
        if callbacks:
            inputs = _by_name(self._module, self._args, self._kwargs) if self._args else self._kwargs
            self._emission = Emission(callbacks, "module", self._module, inputs, app.bridge.run)

    def __exit__(self, *exc_info: Any) -> None:  # noqa: PYI036  handed on as they come
        if self._emission is not None:
            self._emission.outputs = self.outputs
            self._emission.__exit__(*exc_info)
        self._end(*exc_info)

    async def __aexit__(self, *exc_info: Any) -> None:  # noqa: PYI036  as above
        try:
            if self._emission is not None:
                self._emission.outputs = self.outputs
                await self._emission.__aexit__(*exc_info)
        finally:
            self._end(*exc_info)

    def _end(self, *exc_info: Any) -> None:
        self._scope.__exit__(*exc_info)
        if self._tracker is not None and isinstance(self.outputs, Prediction):
            self.outputs.set_lm_usage(self._tracker.get_total_tokens())


def form_of(module: Module, name: str) -> Any:
    """Its `forward` or `aforward`; None where there is none, or the other one is what was written last."""
    given, other = module.__dict__, "aforward" if name == "forward" else "forward"
    if name not in given and (other in given or type(module)._last_form == other):
        return None
    return getattr(module, name, None)


def _in_time(run: Callable[[], Coroutine[Any, Any, Any]]) -> Callable[[], Coroutine[Any, Any, Any]]:
    deadline = SCOPE.get().deadline
    return run if deadline is None else partial(deadline.bound, run)


def _formless(module: Module) -> ConfigurationError:
    return ConfigurationError(f"{type(module).__name__} has neither `forward` nor `aforward`; write one of them.")


def _result(module: Module, coroutine: Coroutine[Any, Any, Any]) -> Any:
    bridge = current_app().bridge
    return run_stepped(bridge, coroutine) if type(module)._steps else bridge.run(coroutine)


def _waited(module: Module, aforward: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    return _result(module, aforward(module, *args, **kwargs))


def _by_name(module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by the names that `forward` gives them; as they came where it does not take them."""
    called = form_of(module, "forward") or form_of(module, "aforward")
    try:
        bound = inspect.signature(called).bind(*args, **kwargs)
    except TypeError:  # the call itself says what does not fit
        return {**kwargs, "args": args}
    rest = next((p.name for p in bound.signature.parameters.values() if p.kind is p.VAR_KEYWORD), "")
    return {**{name: value for name, value in bound.arguments.items() if name != rest}, **bound.arguments.get(rest, {})}


_HOLDERS: tuple[type, ...] = (Module, list, tuple, dict)  # what a module may be a part of


def _walk(root: Any, path: str = "", key_form: str = "['{}']") -> Iterator[tuple[str, Any]]:
    """Modules below `root` with their paths, depth first, each object once."""
    seen: set[int] = set()

    def visit(path: str, part: Any) -> Iterator[tuple[str, Any]]:
        if id(part) in seen:
            return
        seen.add(id(part))
        if isinstance(part, Module):
            yield path or "self", part
        for step, child in _children(part, key_form):
            if isinstance(child, _HOLDERS):
                yield from visit(f"{path}{step}" if path or step[0] == "[" else step[1:], child)

    return visit(path, root)


def _children(part: Any, key_form: str) -> Iterator[tuple[str, Any]]:
    if isinstance(part, Module):
        return ((f".{name}", value) for name, value in part.__dict__.items())
    if isinstance(part, dict):
        # DSPy writes 1 and "1" alike; where a dict has both, neither may stand in the other's place.
        return (
            (f"[{key!r}]" if type(key) is not str and str(key) in part else key_form.format(key), value)
            for key, value in part.items()
        )
    return ((f"[{index}]", value) for index, value in enumerate(part))


def _replace(part: Any, replaced: dict[int, Any], seen: set[int]) -> Any:
    if id(part) in replaced:
        return replaced[id(part)]
    if id(part) in seen or not isinstance(part, _HOLDERS):
        return part
    seen.add(id(part))
    if isinstance(part, tuple):
        return tuple(_replace(item, replaced, seen) for item in part)
    holder: Any = part.__dict__ if isinstance(part, Module) else part
    for key in range(len(holder)) if isinstance(holder, list) else list(holder):
        holder[key] = _replace(holder[key], replaced, seen)
    return part
