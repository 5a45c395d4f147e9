"""The installed versions of dspex and of the packages that declare plugins."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

from dspex.core.distributions import declared


@cache
def kernel_version() -> str:
    """The version of dspex, "unknown" where it runs from a plain folder. Read once: what runs stays what it is."""
    try:
        return version("dspex")
    except PackageNotFoundError:
        return "unknown"


def installed() -> dict[str, str]:
    """Versions by package, in order; nothing is imported."""
    plugins = {one.distribution: one.version for one in declared("dspex") if one.distribution}
    return dict(sorted({"dspex": kernel_version(), **plugins}.items()))
