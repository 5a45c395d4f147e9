"""BestOfN: several attempts, the best of them by a reward."""

from collections.abc import Mapping, Sequence
from typing import Any

from dspex.program.attempts import Attempts, Reward, attempts_recipe, checked, held
from dspex.program.module import Module


class BestOfN(Module):
    """Runs `module` up to `N` times and gives the prediction with the highest reward, the earliest of equal ones.

    `reward_fn(inputs, prediction)`, sync or async, gives a number; an attempt that reaches `threshold` is the last (None:
    all are made). Each attempt is another sample, at temperature 1. More than `fail_count` failures in a call (None: N), or
    nothing but failures, raise the module's own error; a spent budget ends it at once.
    """

    def __init__(
        self,
        module: Module,
        N: int,  # noqa: N803  DSPy's name
        reward_fn: Reward,
        threshold: float | None,
        fail_count: int | None = None,
        *,
        callbacks: Sequence[Any] | None = None,
    ) -> None:
        super().__init__(callbacks)
        self.fail_count = checked(module, N, fail_count)
        self.module = module
        self.N = N
        self.reward_fn = held(reward_fn)
        self.threshold = threshold

    async def aforward(self, **kwargs: Any) -> Any:
        """The best prediction."""
        attempts = Attempts(kwargs, self.reward_fn, self.fail_count)
        for number in range(self.N):
            attempt = await attempts.run(self.module, number)
            if attempt is not None and self.threshold is not None and attempt.reward >= self.threshold:
                break
        return await attempts.result()

    def _recipe(self) -> dict[str, Any]:
        return attempts_recipe(self)

    def _traits(self) -> Mapping[str, Any]:
        names = ("N", "threshold", "fail_count", "reward_fn")
        return {name: getattr(self, name) for name in names}
