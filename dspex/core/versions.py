"""The installed versions of dspex and of the packages that declare plugins."""

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points


def kernel_version() -> str:
    """The installed version of dspex, "unknown" where it runs from a plain folder."""
    try:
        return version_of("dspex")
    except PackageNotFoundError:
        return "unknown"


def version_of(package: str) -> str:
    """The installed version of a package. Raises PackageNotFoundError."""
    found = distribution(package)
    return named(found)[1] or found.version


def named(dist: Distribution) -> tuple[str, str]:
    """A distribution's name and version. Its own properties parse all of the metadata, the readme too, once for each."""
    try:
        head = (dist.read_text("METADATA") or dist.read_text("PKG-INFO") or "").partition("\n\n")[0]
    except ValueError:  # it is no text, which is no reason to leave out a plugin
        return "", ""
    name, version = (re.search(rf"^{word}:[ \t]*(.+?)[ \t\r]*$", head, re.MULTILINE) for word in ("Name", "Version"))
    return (name[1], version[1]) if name and version else (dist.name, dist.version)


def installed() -> dict[str, str]:
    """Versions by package, in order; nothing is imported."""
    plugins = dict(named(point.dist) for point in entry_points(group="dspex") if point.dist is not None)
    return dict(sorted({"dspex": kernel_version(), **plugins}.items()))
