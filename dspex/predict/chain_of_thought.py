"""DSPy's path of ChainOfThought."""

from dspex.program.chain_of_thought import ChainOfThought

__all__ = ["ChainOfThought"]
