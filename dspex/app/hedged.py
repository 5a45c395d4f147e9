"""Hedged: an LM whose slow calls are sent a second time."""

from dspex.app.lm import LM
from dspex.core.errors import ConfigurationError


def Hedged(lm: LM, after: float | str = "p95") -> LM:  # noqa: N802  it stands where an LM is made
    """`lm`, sending a request again when its first attempt has not answered `after` that many seconds.

    "p95" is the time within which 95 of the last 100 calls answered; until 20 have been seen nothing is hedged. The
    first reply counts, the other attempt is cancelled; both count in limits, budgets and usage, the cancelled one by a
    guess at its prompt. Equal calls still share one reply, and streams are not hedged. Of a Fallback each LM is hedged.
    Raises ConfigurationError for another `after`, and for what is no LM.
    """
    if not isinstance(lm, LM):
        raise ConfigurationError(f"Hedged needs an LM: dspex.Hedged(dspex.LM(...)); {lm!r:.80} is none.")
    return lm.copy(hedge_after=after)
