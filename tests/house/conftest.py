"""The kernel as source files, for tests about its shape."""

from pathlib import Path

import pytest

KERNEL = Path(__file__).parents[2] / "dspex"


@pytest.fixture(scope="session")
def sources() -> dict[str, str]:
    """Source text of each module, by dotted name; a package stands under its own name."""
    return {dotted(path): path.read_text() for path in sorted(KERNEL.rglob("*.py"))}


def dotted(path: Path) -> str:
    """`dspex/core/clock.py` as `dspex.core.clock`, `dspex/core/__init__.py` as `dspex.core`."""
    parts = path.relative_to(KERNEL.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
