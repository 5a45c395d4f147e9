"""DSPy's path of the doubles for tests of programs."""

from dspex.testing.dummies import DummyLM, DummyVectorizer

__all__ = ["DummyLM", "DummyVectorizer"]
