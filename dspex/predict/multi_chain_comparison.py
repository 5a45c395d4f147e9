"""DSPy's path of MultiChainComparison."""

from dspex.program.multi_chain_comparison import MultiChainComparison

__all__ = ["MultiChainComparison"]
