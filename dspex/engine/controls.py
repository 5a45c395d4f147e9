"""Control arms: programs that should be worse than the winner, so that its gain is not taken for what anything gives."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from dspex.core.candidate import Candidate, Demo
from dspex.core.evidence import Arm
from dspex.core.identity import plain
from dspex.engine.context import Context
from dspex.engine.scheduler import Stop
from dspex.evaluate.statistics import verdict


async def control_arms(context: Context, winner: Candidate) -> list[Arm]:
    """The winner beside itself with empty instructions, with their words shuffled, and with other demos, as many.

    What it does not have is not varied. None where the budget does not reach.
    """
    made = {name: make(context, winner) for name, make in MAKERS.items()}
    arms = {name: arm for name, arm in made.items() if arm.key != winner.key}
    try:
        async with context.phase("controls", total=(1 + len(arms)) * len(context.val)):
            pairs = [(one, context.val) for one in (winner, *arms.values())]
            best, *others = await context.evaluate_all(pairs, role="control")
    except Stop:
        return []
    return [
        Arm(name, scores.mean, verdict(scores.values, best.values, context.derived("control", name), basis="control"))
        for name, scores in zip(arms, others, strict=True)
    ]


def _empty(_: Context, winner: Candidate) -> Candidate:
    return winner.with_instructions(dict.fromkeys(winner.predictors, ""))


def _shuffled(context: Context, winner: Candidate) -> Candidate:
    texts = {}
    for path, state in winner.predictors.items():
        words = state.instructions.split()
        context.derived("shuffled words", path).shuffle(words)
        texts[path] = " ".join(words)
    return winner.with_instructions(texts)


def _other_demos(context: Context, winner: Candidate) -> Candidate:
    demos = {}
    for path, state in winner.predictors.items():
        drawn = context.derived("other demos", path).sample(context.train, min(len(state.demos), len(context.train)))
        demos[path] = tuple(Demo(plain(one.toDict()), origin=context.key_of(one)) for one in drawn)
    return winner.with_demos(demos, keep_selector=True)


MAKERS: Mapping[str, Callable[[Context, Candidate], Candidate]] = MappingProxyType(
    {
        "no instructions": _empty,
        "its words shuffled": _shuffled,
        "demos drawn at random": _other_demos,
    }
)
