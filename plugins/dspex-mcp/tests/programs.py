"""Programs to offer: a module of a user's, found by `dspex mcp serve --program programs:clerk`."""

import asyncio
import sys

import dspex
from dspex.testing import DummyLM


class Sorts(dspex.Signature):
    """Sort a letter into a tray."""

    letter: str = dspex.InputField(desc="all of it")
    urgent: bool = dspex.InputField(default=False)
    tray: str = dspex.OutputField()
    weight: float = dspex.OutputField()


clerk = dspex.Predict(Sorts)
clerk.lm = DummyLM({"": {"tray": "bills", "weight": "0.5"}})


class Chatty(dspex.Module):
    """Counts, and prints what it does."""

    async def aforward(self, text: str, times: int = 1) -> int:
        sys.stdout.write(f"counting {text}\n")
        return len(text) * times


class Fails(dspex.Module):
    """Fails in the way that it is told."""

    async def aforward(self, how: str) -> str:
        if how == "wait":
            await asyncio.Event().wait()
        if how == "budget":
            predict = dspex.Predict("question -> answer")
            for number in range(9):
                await predict.acall(question=str(number))
        raise ValueError(f"it is {how}")


def double(x: int) -> int:
    """Twice x."""
    return 2 * x


def picture() -> dspex.Image:
    """A dot."""
    return dspex.Image(
        "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
    )


OFFERED = {"sort": clerk, "count": Chatty(), "fail": Fails(), "double": double, "picture": picture}

if __name__ == "__main__":
    import dspex_mcp

    with dspex.context(lm=DummyLM({"": {"answer": "4"}})):
        dspex_mcp.serve(OFFERED, budget=dspex.Budget(calls=3), timeout_s=2, instructions="Sort first.")
