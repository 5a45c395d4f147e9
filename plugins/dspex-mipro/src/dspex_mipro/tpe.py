"""Where to look next: optuna's tree-structured Parzen estimator, over a history that it is given whole."""

import itertools
import logging
import math
import random
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

Point = dict[str, int]

STARTUP = 10  # points that are drawn at random before there is a model to draw from
TRIES = 8  # questions to the sampler a point; after that points are drawn at random


def proposals(
    sizes: Mapping[str, int],
    history: Sequence[tuple[Mapping[str, int], float]],
    closed: Sequence[Mapping[str, int]],
    count: int,
    seed: int,
) -> list[Point]:
    """The next `count` points, for choices of these sizes and points with their values; the same for the same arguments.

    They differ from each other and from those that are `closed`; where fewer are left, there are fewer.
    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", 2011; multivariate, as in Falkner et al., 2018.
    """
    study = _study(sizes, history, seed)
    taken = {tuple(point[name] for name in sizes) for point in closed}
    count = min(count, math.prod(sizes.values()) - len(taken))
    rng = random.Random(seed)
    points: list[Point] = []
    for tried in itertools.count():
        if len(points) == count:
            break
        # A sampler that is sure of its best points asks for them again and again.
        is_asked = tried < TRIES * count
        point = study() if is_asked else {name: rng.randrange(size) for name, size in sizes.items()}
        place = tuple(point[name] for name in sizes)
        if place not in taken:
            taken.add(place)
            points.append(point)
    return points


def _study(
    sizes: Mapping[str, int], history: Sequence[tuple[Mapping[str, int], float]], seed: int
) -> Callable[[], Point]:
    """What gives one point after another, of a sampler that was told this history."""
    import optuna  # late, as it brings numpy and a database's client

    # It tells of every study, and to silence it by its own setting would silence a user's studies too.
    logging.getLogger("optuna.storages._in_memory").setLevel(logging.WARNING)
    distributions: dict[str, Any] = {
        name: optuna.distributions.CategoricalDistribution(range(size)) for name, size in sizes.items()
    }
    # A sampler that has run is not in the state of one that was told the same, so each batch has a new one.
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, constant_liar=True, seed=seed)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(
        [
            optuna.trial.create_trial(params=dict(point), distributions=distributions, value=value)
            for point, value in history
        ]
    )
    return lambda: dict(study.ask(distributions).params)


def library() -> str:
    """What the points depend on besides."""
    return f"optuna {version('optuna')}"
