"""The installed versions of dspex and of the packages that declare plugins."""

from functools import cache
from importlib.metadata import PackageNotFoundError, distribution

from dspex.core.distributions import declared, named


@cache
def kernel_version() -> str:
    """The version of dspex, "unknown" where it runs from a plain folder."""
    try:
        return version_of("dspex")
    except PackageNotFoundError:
        return "unknown"


@cache
def version_of(package: str) -> str:
    """The installed version of a package, read once: what runs stays what it is. Raises PackageNotFoundError."""
    found = distribution(package)
    return named(found)[1] or found.version


def installed() -> dict[str, str]:
    """Versions by package, in order; nothing is imported."""
    plugins = {one.distribution: one.version for one in declared("dspex") if one.distribution}
    return dict(sorted({"dspex": kernel_version(), **plugins}.items()))
