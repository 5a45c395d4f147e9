"""Floor 7: programs scored on examples, and how sure a score or a gain is; the names that DSPy has here."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex.evaluate.evaluate import Evaluate, EvaluationResult
    from dspex.evaluate.judges import CompleteAndGrounded, SemanticF1
    from dspex.evaluate.metrics import EM, F1, HotPotF1, answer_exact_match, answer_passage_match, normalize_text

__all__ = [
    "EM",
    "F1",
    "CompleteAndGrounded",
    "Evaluate",
    "EvaluationResult",
    "HotPotF1",
    "SemanticF1",
    "answer_exact_match",
    "answer_passage_match",
    "normalize_text",
]


def __getattr__(name: str) -> Any:
    # The engine needs the statistics, and must not pay for the judges.
    if name in __all__:
        for home in ("metrics", "evaluate", "judges"):
            module = import_module(f"dspex.evaluate.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'dspex.evaluate' has no attribute {name!r}")
