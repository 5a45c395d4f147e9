"""What one example pays for: the program and the judge that scores it are told apart by when they ran."""

import msgspec

from dspex.app.app import App, current_app
from dspex.core.usage import NOTHING, Usage


class Meter:
    """Stands among a scope's usage trackers; `take` gives what was paid since it was last asked.

    One worker runs one example at a time, so it needs one meter and no scope of its own for each example.
    """

    __slots__ = ("paid",)

    def __init__(self) -> None:
        self.paid: list[tuple[str, Usage]] = []

    def add(self, model: str, usage: Usage) -> None:
        """Note one call; from any thread."""
        self.paid.append((model, usage))

    def take(self) -> Usage:
        """The sum, with its price where the provider or the setting `prices` tells it."""
        paid, self.paid = self.paid, []
        app = current_app()
        return sum((_priced(model, usage, app) for model, usage in paid), NOTHING)


def _priced(model: str, usage: Usage, app: App) -> Usage:
    usd = usage.usd
    if usd is None and model in app.settings.prices:
        usd = app.prices.of(model, usage, needed=False)
    return msgspec.structs.replace(usage, usd=usd, calls=max(1, usage.calls))
