"""An executor for dspex: programs run in several processes of this machine."""

from dspex.plugin import Spec, hookimpl

__all__ = ["dspex_executors"]


@hookimpl
def dspex_executors() -> list[Spec]:
    """The executor "processes"."""
    return [Spec("processes", "dspex_processes.executor:ProcessExecutor", "Worker processes on this machine")]
