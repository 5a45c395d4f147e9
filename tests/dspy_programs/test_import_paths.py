"""Modules that DSPy has are reached after `import dspex` alone, where DSPy itself asks for an import of some."""

import importlib
import subprocess
import sys

import pytest

import dspex
from dspex.testing import DummyLM

PATHS = [
    "datasets.DataLoader",
    "evaluate.Evaluate",
    "evaluate.normalize_text",
    "experimental.Citations",
    "teleprompt.bootstrap_trace_data",
    "adapters.types.History",
    "predict.react.ReAct",
    "primitives.Example",
    "signatures.signature.ensure_signature",
    "utils.DummyLM",
    "utils.exceptions.LMError",
    "clients.lm.LM",
    "retrievers.Embeddings",
]
# Each path in a child of a process that has imported `dspex` and nothing of it; what all need of others is there already.
REACHES = """
import asyncio, os, sys
import msgspec
import dspex
for path in sys.argv[1:]:
    if not (child := os.fork()):
        eval(f"dspex.{path}")
        os._exit(0)
    print(path, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture(scope="module")
def reached(tmp_path_factory):
    """The exit code of a process that reaches a path, by the path."""
    command = [sys.executable, "-c", REACHES, *PATHS]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, cwd=tmp_path_factory.mktemp("empty"))
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.parametrize("path", PATHS)
def test_a_path_needs_no_import_of_its_own(path, reached):
    assert reached[path] == "0"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("adapters", "Adapter ChatAdapter History Image Tool Type"),
        ("adapters.base", "Adapter"),
        ("adapters.chat_adapter", "ChatAdapter"),
        ("adapters.json_adapter", "JSONAdapter"),
        ("adapters.two_step_adapter", "TwoStepAdapter"),
        ("adapters.types", "Audio Citations Code Document File History Image Reasoning Tool ToolCalls Type"),
        ("adapters.types.image", "Image"),
        ("adapters.types.tool", "Tool ToolCalls"),
        ("adapters.xml_adapter", "XMLAdapter"),
        ("predict", "BestOfN ChainOfThought KNN MultiChainComparison Parallel Predict ReAct Refine Tool majority"),
        ("predict.aggregation", "majority"),
        ("predict.predict", "Predict serialize_object"),
        ("predict.react", "ReAct Tool"),
        ("predict.react_v2", "ReActV2"),
        ("predict.rlm", "RLM"),
        ("primitives", "BaseModule Completions Example Module Prediction"),
        ("primitives.module", "Module set_attribute_by_name"),
        ("primitives.prediction", "Completions Prediction"),
        ("signatures", "InputField OutputField Signature SignatureMeta ensure_signature infer_prefix make_signature"),
        ("signatures.signature", "Signature SignatureMeta ensure_signature"),
        ("clients.base_lm", "BaseLM LM_CLASS_STATE_KEY inspect_history"),
        ("clients.cache", "Cache"),
        ("clients.embedding", "Embedder"),
        ("clients.lm", "LM"),
        ("datasets.dataloader", "DataLoader"),
        ("datasets.dataset", "Dataset"),
        ("dsp.utils", "deduplicate dotdict settings"),
        ("dsp.utils.settings", "DEFAULT_CONFIG settings"),
        ("dsp.utils.utils", "deduplicate dotdict"),
        ("evaluate.auto_evaluation", "CompleteAndGrounded SemanticF1"),
        ("evaluate.evaluate", "Evaluate EvaluationResult"),
        (
            "evaluate.metrics",
            "EM answer_exact_match answer_passage_match em_score f1_score hotpot_f1_score normalize_text precision_score",
        ),
        ("retrievers.embeddings", "Embeddings EmbeddingsWithScores"),
        ("retrievers.retrieve", "Retrieve"),
        ("streaming.messages", "StatusMessage StatusMessageProvider StreamResponse"),
        ("streaming.streamify", "apply_sync_streaming streamify streaming_response"),
        ("streaming.streaming_listener", "StreamListener"),
        ("teleprompt.bootstrap_trace", "FailedPrediction TraceData bootstrap_trace_data"),
        ("teleprompt.gepa.gepa", "GEPAFeedbackMetric"),
        ("teleprompt.gepa.gepa_utils", "DSPyTrace ReflectiveExample ScoreWithFeedback"),
        ("teleprompt.gepa.instruction_proposal", "ReflectiveExample"),
        ("teleprompt.teleprompt", "Teleprompter"),
        ("utils.asyncify", "asyncify"),
        ("utils.callback", "ACTIVE_CALL_ID BaseCallback"),
        ("utils.dummies", "DummyLM DummyVectorizer"),
        ("utils.exceptions", "AdapterParseError LMRateLimitError is_retryable_lm_error"),
        ("utils.magicattr", "delete get set"),
        ("utils.parallelizer", "ParallelExecutor"),
        ("utils.logging_utils", "disable_logging enable_logging"),
        ("utils.saving", "load"),
        ("utils.syncify", "syncify"),
        ("utils.usage_tracker", "UsageTracker track_usage"),
    ],
)
def test_a_module_that_programs_import_from_has_its_names(path, names):
    found = importlib.import_module(f"dspex.{path}")
    assert [name for name in names.split() if not hasattr(found, name)] == []


def test_optimizers_stand_where_dspy_has_them_and_a_missing_one_says_what_to_install():
    from dspex.teleprompt import Teleprompter

    assert issubclass(Teleprompter, dspex.Optimizer)
    with pytest.raises(AttributeError, match="NoSuchOptimizer"):
        dspex.teleprompt.NoSuchOptimizer  # noqa: B018


def test_an_import_of_a_data_set_says_where_to_have_it():
    with pytest.raises(ImportError, match=r"cannot import name 'HotPotQA': .*DataLoader"):
        from dspex.datasets import HotPotQA  # noqa: F401
    with pytest.raises(AttributeError, match="DataLoader"):
        dspex.datasets.MATH  # noqa: B018
    assert not hasattr(dspex.datasets, "HotPotQA")
    assert not hasattr(dspex.datasets, "nothing")


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("PythonInterpreter", "dspex-monty or dspex-bwrap"),
        ("CodeInterpreterError", "sandbox"),
        ("BAMLAdapter", "JSONAdapter"),
        ("ColBERTv2", "configure\\(rm="),
        ("Flex", "as they stand"),
        ("AvatarOptimizer", "SIMBA"),
        ("Provider", "plugin new"),
        ("TrainingJob", "BootstrapFinetune"),
        ("load_settings", "configure"),
    ],
)
def test_what_is_not_carried_says_what_stands_in_its_place(name, instead):
    with pytest.raises(AttributeError, match=f"dspex has no {name}: .*{instead}"):
        getattr(dspex, name)
    assert not hasattr(dspex, name)


def test_a_path_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nowhere'"):
        dspex.nowhere.thing  # noqa: B018


def test_the_calls_of_all_lms_stand_where_dspy_has_them():
    from dspex.clients.base_lm import GLOBAL_HISTORY

    GLOBAL_HISTORY.clear()
    for name in ("first", "second"):
        dspex.Predict("question -> answer")(question=name, lm=DummyLM([{"answer": "a"}]))
    assert len(GLOBAL_HISTORY) == len([*GLOBAL_HISTORY]) == 2
    assert "second" in GLOBAL_HISTORY[-1]["messages"][-1]["content"]
    assert [entry["model"] for entry in GLOBAL_HISTORY[:1]] == ["dummy"]
