"""pytest for programs written with dspex."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pytest_dspex.blocked import NetworkBlocked

__all__ = ["NetworkBlocked"]


def __getattr__(name: str) -> Any:
    # pytest loads this package in every run, also in those that never meet dspex.
    if name == "NetworkBlocked":
        from pytest_dspex.blocked import NetworkBlocked

        return NetworkBlocked
    raise AttributeError(f"module 'pytest_dspex' has no attribute {name!r}")
