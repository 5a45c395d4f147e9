"""DSPy's path of the doubles for tests of programs."""

from dspex.testing.dummies import DummyLM, DummyVectorizer, dummy_rm

__all__ = ["DummyLM", "DummyVectorizer", "dummy_rm"]
