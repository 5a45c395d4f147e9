"""From what a compile is asked for to what its run is made of: data checked and parted, roles, price, identity."""

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.candidate import Candidate, Shape
from dspex.core.clock import derived_rng
from dspex.core.errors import ConfigurationError, EvaluationError
from dspex.core.example import Example
from dspex.core.identity import digest
from dspex.core.nearest import did_you_mean
from dspex.core.usage import Budget
from dspex.engine.artifact import Programs, example_key, extracted, fingerprint
from dspex.engine.away import check_can_leave
from dspex.engine.groups import check_group, parted
from dspex.engine.holdout import Shown, demos_in, sealed_by, set_apart
from dspex.engine.objective import check_objective
from dspex.engine.opening import Terms, held_before
from dspex.engine.options import Options, check_options, teachers_of
from dspex.engine.quote import Quote, bounds_of, check, quoted
from dspex.engine.setup import Setup, roles_of
from dspex.engine.warm import Apart, known_programs, warmed
from dspex.evaluate.dispatch import executor_for
from dspex.program.batch import side_by_side
from dspex.program.module import Module

NOT_COMPARED = frozenset({"num_threads", "max_errors", "track_stats", "verbose", "log_dir"})


class Prepared(msgspec.Struct, frozen=True):
    """All that is known before a run is opened; `notes` are for its evidence."""

    setup: Setup
    terms: Terms
    notes: tuple[str, ...]


class Data(msgspec.Struct, frozen=True):
    """The examples, and the key of each by its `id`."""

    train: list[Example]
    val: list[Example]
    held: list[Example]
    keys: Mapping[int, str]


def prepared(optimizer: Any, student: Module, options: Options) -> Prepared:
    """Raises ConfigurationError, EvaluationError for wrong data, BudgetExceeded if it does not fit; nothing is written."""
    check_options(options)
    options = msgspec.structs.replace(options, seed=int(options.seed or 0))
    executor = None if options.executor is None else executor_for(options.executor, "executor")
    check_objective(options.objective, options.max_usd_per_call)
    given = {**optimizer.compile_arguments, **_known(optimizer, options.arguments)}
    if len(teachers_of(options.teacher)) > 1 and not optimizer.takes_teachers:
        raise ConfigurationError(
            f"{type(optimizer).__name__} takes one teacher, not {len(teachers_of(options.teacher))}."
        )
    whole, more = list(options.trainset), list(options.valset or ())
    known = known_programs(options.warm_start, student)
    demos = chain.from_iterable(demos_in(one) for one in (student, *teachers_of(options.teacher), *known))
    apart = list(options.holdout) if isinstance(options.holdout, list | tuple) else []
    _check_data(student, trainset=whole, valset=more, holdout=apart)
    keys = _keys(trainset=whole, valset=more, holdout=apart)
    holdout = options.holdout if optimizer.metric else 0
    most = held_before(options.run_dir, _most_held(options.budget, student))
    shown = Shown(demos)
    groups = check_group(options.group)
    groups.among(whole)  # a name that is a slip is told, though nothing may come to be parted
    train, val, held, notes = set_apart(
        whole, more, holdout, keys, seed=options.seed, most=most, shown=shown, groups=groups
    )
    data = Data(train, val, held, keys)
    optimizer, setup, quote, said = _within_budget(optimizer, student, options, data, given)
    if executor is not None:
        check_can_leave([student, *teachers_of(options.teacher), *known], setup.roles, current_app())
        setup = msgspec.structs.replace(setup, executor=executor)
    identity = {
        "optimizer": [f"{type(optimizer).__module__}.{type(optimizer).__qualname__}", optimizer.identity],
        "arguments": fingerprint({**given, "keep": options.keep, **_unusual(options)}),
        "student": fingerprint(student),
        "teacher": fingerprint(options.teacher) if options.teacher is not None else None,
        **({"warm start": setup.warm.identity} if options.warm_start is not None else {}),
        **{name: _data(part, keys) for name, part in (("trainset", whole), ("valset", more), ("held examples", held))},
        "metric": setup.metric_identity,
        "language model and adapter": {name: role.identity for name, role in setup.roles.items()},
        "seed": options.seed,
    }
    waves = "by candidate" if setup.by_candidate else "by example"
    said = [*said, *setup.warm.notes]
    return Prepared(setup, Terms(identity, options.budget, quote, waves, options.fork), (*notes, *said))


def within(
    optimizer: Any, setup: Setup, student: Candidate, teachers: Sequence[Candidate], given: Mapping[str, Any]
) -> Setup:
    """The setup of an optimizer inside another's run; it has the outer one's metric where it has none."""
    program, *others = (setup.programs.runnable(one)[0] for one in (student, *teachers))
    roles, capabilities = roles_of(optimizer, program, others)
    setup.programs.also(optimizer.finish)
    metric = optimizer.metric or setup.metric
    return msgspec.structs.replace(
        setup,
        optimizer=optimizer,
        arguments={**optimizer.compile_arguments, **_known(optimizer, given)},
        student=student,
        teachers=tuple(teachers),
        metric=metric,
        metric_identity=digest(fingerprint(metric)),
        roles=roles,
        capabilities=capabilities,
    )


def _within_budget(
    optimizer: Any, student: Module, options: Options, data: Data, given: Mapping[str, Any]
) -> tuple[Any, Setup, Quote, list[str]]:
    """The optimizer, with smaller settings if asked for, and what it may cost. Raises BudgetExceeded."""
    budget = options.budget or Budget()
    setup = _setup(optimizer, student, options, data, given)
    quote = quoted(setup, student, teachers_of(options.teacher), _needs_price(options))
    if budget.tokens is not None or budget.usd is not None:
        setup = msgspec.structs.replace(setup, bounds=bounds_of(setup, student, teachers_of(options.teacher)))
    if budget.on_short == "stop":
        return optimizer, setup, quote, []
    smaller = optimizer.fit(setup.shape, _beside(optimizer, setup, quote, budget)) if budget.on_short == "fit" else None
    if smaller is None:
        check(quote, budget, type(optimizer).__name__)
        return optimizer, setup, quote, []
    setup = msgspec.structs.replace(_setup(smaller, student, options, data, given), bounds=setup.bounds)
    less = quoted(setup, student, teachers_of(options.teacher), _needs_price(options))
    check(less, budget, type(optimizer).__name__)
    said = [] if less == quote else [f"settings were made smaller to fit the budget: {less} instead of {quote}"]
    return smaller, setup, less, said


def _beside(optimizer: Any, setup: Setup, quote: Quote, budget: Budget) -> Budget:
    """What control arms and programs to start with leave of a budget: an optimizer knows nothing of them."""
    if budget.calls is None:
        return budget
    others = quote.calls - optimizer.estimate(setup.shape).high - quote.by_role["evidence"]
    return msgspec.structs.replace(budget, calls=max(0, budget.calls - others))


def _setup(optimizer: Any, student: Module, options: Options, data: Data, given: Mapping[str, Any]) -> Setup:
    settings, teachers = current_app().settings, teachers_of(options.teacher)
    groups, rng = check_group(options.group), derived_rng(options.seed, type(optimizer).__name__, "parts")
    train, val = parted(optimizer, data.train, data.val, rng, groups)
    roles, capabilities = roles_of(optimizer, student, teachers)
    task = capabilities["task"]
    threads = optimizer.num_threads if options.num_threads is None else options.num_threads
    learnt_from = {id(one) for one in train}
    apart = Apart([*(one for one in val if id(one) not in learnt_from), *data.held], groups)
    warm = warmed(options.warm_start, student, apart, train, data.keys)
    known = [one for _, one in warm.programs]
    repeats = max(getattr(part, "max_iters", 1) for _, part in student.named_sub_modules())
    count = len(student.predictors())
    return Setup(
        optimizer=optimizer, arguments=given, student=extracted(student),
        teachers=tuple(map(extracted, teachers)), programs=Programs(*known, student, *teachers, finish=optimizer.finish, lm=settings.lm),
        train=tuple(train), val=tuple(val), held=tuple(data.held), keys=data.keys, metric=optimizer.metric,
        sealed=sealed_by(data.held, data.keys),
        metric_identity=digest(fingerprint(optimizer.metric)), roles=roles, capabilities=capabilities,
        shape=Shape(count, count * repeats, len(train), len(val), len(data.held), given, len(teachers)), seed=options.seed,
        concurrency=side_by_side([student], threads), max_errors=optimizer.max_errors if options.max_errors is None else options.max_errors,
        by_candidate=bool(task.prefix_slots), controls=options.controls, warm=warm, groups=groups,
    )  # fmt: skip


def _needs_price(options: Options) -> bool:
    has_budget = options.budget is not None and options.budget.usd is not None
    return has_budget or options.max_usd_per_call is not None


def _unusual(options: Options) -> dict[str, Any]:
    """What stands in a run's identity only where it is asked for."""
    usual = {"controls": False, "objective": "score", "max_usd_per_call": None, "group": None}
    return {name: found for name, default in usual.items() if (found := getattr(options, name)) != default}


def _known(optimizer: Any, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    names = [name for name in Options.__struct_fields__ if name != "arguments"]
    for name in arguments.keys() - optimizer.compile_arguments.keys():
        hint = did_you_mean(name, [*optimizer.compile_arguments, *names])
        raise ConfigurationError(f"{type(optimizer).__name__}.compile has no argument {name!r}.{hint}")
    return arguments


def constructed(optimizer: Any) -> dict[str, Any]:
    """What an optimizer was made with, as far as it has a part in what comes of it."""
    kept = {name: value for name, value in vars(optimizer).items() if name not in NOT_COMPARED and name[0] != "_"}
    return {name: fingerprint(value) for name, value in kept.items()}


def _most_held(budget: Budget | None, student: Module) -> int | None:
    return None if budget is None or budget.calls is None else budget.calls // (8 * len(student.predictors()))


def _check_data(student: Any, **parts: list[Example]) -> None:
    if not isinstance(student, Module) or not student.predictors():
        raise ConfigurationError(f"compile needs a program with at least one predictor, not {student!r:.80}.")
    if not parts["trainset"]:
        raise ConfigurationError("The trainset is empty: an optimizer needs at least one example.")
    for name, part in parts.items():
        for index, example in enumerate(part):
            if getattr(example, "_input_keys", None) is None:
                raise EvaluationError(
                    f"Example {index} of the {name} declares no inputs: call .with_inputs(...) on {example!r:.120}"
                )


def _keys(**parts: list[Example]) -> dict[int, str]:
    """The key of each example by its `id`. Raises ConfigurationError for a value that has none."""
    keys = {}
    for name, part in parts.items():
        for index, example in enumerate(part):
            try:
                keys[id(example)] = example_key(example)
            except ConfigurationError as error:
                raise ConfigurationError(f"Example {index} of the {name}: {error}") from None
    return keys


def _data(part: Sequence[Example], keys: Mapping[int, str]) -> dict[str, Any]:
    return {"examples": len(part), "digest": digest([keys[id(one)] for one in part])}
