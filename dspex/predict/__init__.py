"""DSPy's path of the modules."""

from dspex.predict.aggregation import majority
from dspex.predict.best_of_n import BestOfN
from dspex.predict.chain_of_thought import ChainOfThought
from dspex.predict.code_act import CodeAct
from dspex.predict.knn import KNN
from dspex.predict.multi_chain_comparison import MultiChainComparison
from dspex.predict.parallel import Parallel
from dspex.predict.predict import Predict
from dspex.predict.program_of_thought import ProgramOfThought
from dspex.predict.react import ReAct, Tool
from dspex.predict.react_v2 import ReActV2
from dspex.predict.refine import Refine
from dspex.predict.rlm import RLM

__all__ = [
    "KNN",
    "RLM",
    "BestOfN",
    "ChainOfThought",
    "CodeAct",
    "MultiChainComparison",
    "Parallel",
    "Predict",
    "ProgramOfThought",
    "ReAct",
    "ReActV2",
    "Refine",
    "Tool",
    "majority",
]
