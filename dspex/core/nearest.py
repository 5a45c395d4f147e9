"""A guess at what was meant, for errors."""

from collections.abc import Iterable


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, in any case; None if none is near."""
    import difflib

    folded: dict[str, str] = {}
    for one in known:
        folded.setdefault(one.casefold(), one)
    return next((folded[one] for one in difflib.get_close_matches(name.casefold(), folded, 1)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'x'?`, or nothing."""
    near = nearest(name, known)
    return f" Did you mean {near!r}?" if near else ""
