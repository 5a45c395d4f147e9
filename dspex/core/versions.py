"""The installed versions of dspex and of the packages that declare plugins."""

from importlib.metadata import PackageNotFoundError, entry_points, version


def kernel_version() -> str:
    """The installed version of dspex, "unknown" where it runs from a plain folder."""
    try:
        return version("dspex")
    except PackageNotFoundError:
        return "unknown"


def installed() -> dict[str, str]:
    """Versions by package, in order; nothing is imported."""
    plugins = {point.dist.name: point.dist.version for point in entry_points(group="dspex") if point.dist is not None}
    return dict(sorted({"dspex": kernel_version(), **plugins}.items()))
