"""dspex: program language models, measure the programs, and let optimizers improve them.

Importing this package is cheap: every name is loaded at its first use, and plugins only when one is asked for.
"""

import importlib
import sys
from types import MappingProxyType
from typing import Any

_HOMES = MappingProxyType(
    {
        "dspex.app.accounting": ("UsageTracker", "budget", "deadline", "track_usage"),
        "dspex.app.app": ("App", "configure"),
        "dspex.app.base_lm": ("BaseLM",),
        "dspex.app.cache": ("cache", "configure_cache"),
        "dspex.app.cassette": ("cassette",),
        "dspex.app.current": ("context", "settings"),
        "dspex.app.embedder": ("Embedder",),
        "dspex.app.fallback": ("Fallback",),
        "dspex.app.hedged": ("Hedged",),
        "dspex.app.history": ("inspect_history",),
        "dspex.app.lm": ("LM",),
        "dspex.app.logging": ("disable_litellm_logging", "disable_logging", "enable_litellm_logging", "enable_logging"),
        "dspex.app.retriever": ("Retriever",),
        "dspex.app.threads": ("carry",),
        "dspex.core.candidate": (
            "Candidate",
            "Demo",
            "Estimate",
            "Failure",
            "PredictorState",
            "Range",
            "Rollout",
            "Scores",
            "Shape",
        ),
        "dspex.core.dspy_errors": (
            "ContextWindowExceededError",
            "DSPyError",
            "LMAuthError",
            "LMBillingError",
            "LMCollectionLimitError",
            "LMConfigurationError",
            "LMInvalidRequestError",
            "LMLockTimeoutError",
            "LMNotConfiguredError",
            "LMProviderError",
            "LMRateLimitError",
            "LMServerError",
            "LMStreamAssemblyError",
            "LMTimeoutError",
            "LMTransportError",
            "LMUnexpectedError",
            "LMUnsupportedFeatureError",
            "LMUnsupportedModelError",
        ),
        "dspex.core.endpoint": ("Capabilities", "Endpoint"),
        "dspex.core.errors": (
            "AdapterParseError",
            "AuthError",
            "BadRequest",
            "BudgetExceeded",
            "CassetteError",
            "CassetteMiss",
            "CircuitOpen",
            "CodeError",
            "ConfigurationError",
            "ContentFiltered",
            "ContextWindowExceeded",
            "DatasetError",
            "DeadlineExceeded",
            "DspexError",
            "EvaluationError",
            "ExecutorFailed",
            "FallbackFailed",
            "InputError",
            "JournalError",
            "LMError",
            "LMTimeout",
            "MediaFileMissing",
            "MissingPlugin",
            "MissingPredictor",
            "PluginError",
            "ProgramFileError",
            "ProgramFileMissing",
            "ProtocolError",
            "RateLimited",
            "RecursionLimit",
            "RemoteError",
            "RetrieverError",
            "SandboxError",
            "SignatureError",
            "SignatureTypeError",
            "SupervisorFailed",
            "ToolError",
            "ToolInputError",
            "Unavailable",
            "WorkerLost",
        ),
        "dspex.core.example": ("Completions", "Example", "Prediction"),
        "dspex.core.finetune": ("FineTuneSpec", "FineTuneStatus"),
        "dspex.core.messages": ("Passage",),
        "dspex.core.sandbox": ("SandboxLimits",),
        "dspex.core.secret": ("Secret",),
        "dspex.core.usage": ("Budget", "Usage"),
        "dspex.core.wire": ("HttpLimits",),
        "dspex.engine.attached": ("AttachedJob",),
        "dspex.engine.job": ("Job",),
        "dspex.engine.quote": ("Quote",),
        "dspex.engine.optimize": ("aoptimize", "optimize"),
        "dspex.engine.optimizer": ("Optimizer",),
        "dspex.engine.trace_data": ("abootstrap_trace_data", "bootstrap_trace_data"),
        "dspex.engine.traces": ("read_traces", "write_traces"),
        "dspex.engine.workplace": ("Workplace",),
        "dspex.evaluate.compare": ("acompare", "compare"),
        "dspex.evaluate.datasets": ("load_examples", "read_examples"),
        "dspex.evaluate.evaluate": ("Evaluate", "EvaluationResult"),
        "dspex.core.evidence": ("Comparison",),
        "dspex.plugin.hookspecs": ("hookimpl",),
        "dspex.plugin.spec": ("Spec",),
        "dspex.program.adapters.adapter": ("Adapter",),
        "dspex.program.adapters.chat": ("ChatAdapter",),
        "dspex.program.adapters.json": ("JSONAdapter",),
        "dspex.program.adapters.plain": ("PlainAdapter",),
        "dspex.program.adapters.two_step": ("TwoStepAdapter",),
        "dspex.program.adapters.xml": ("XMLAdapter",),
        "dspex.program.best_of_n": ("BestOfN",),
        "dspex.program.chain_of_thought": ("ChainOfThought",),
        "dspex.program.code_act": ("CodeAct",),
        "dspex.program.embeddings": ("Embeddings", "EmbeddingsWithScores"),
        "dspex.program.fields": ("InputField", "OutputField", "infer_prefix"),
        "dspex.program.function_module": ("module",),
        "dspex.program.knn": ("KNN",),
        "dspex.program.loading": ("load",),
        "dspex.program.majority": ("majority",),
        "dspex.program.module": ("BaseModule", "Module"),
        "dspex.program.multi_chain_comparison": ("MultiChainComparison",),
        "dspex.program.nearest_demos": ("NearestDemos",),
        "dspex.program.parallel": ("Parallel",),
        "dspex.program.predict": ("Predict",),
        "dspex.program.program_of_thought": ("ProgramOfThought",),
        "dspex.program.react": ("ReAct", "ReActV2"),
        "dspex.program.refine": ("Refine",),
        "dspex.program.retrieve": ("Retrieve",),
        "dspex.program.rlm": ("RLM",),
        "dspex.program.signature": ("Signature", "SignatureMeta", "ensure_signature", "make_signature"),
        "dspex.program.streaming.streamify": ("streamify",),
        "dspex.program.sync": ("asyncify", "syncify"),
        "dspex.program.types.base": ("Type",),
        "dspex.program.types.citations": ("Citations", "Document"),
        "dspex.program.types.code": ("Code",),
        "dspex.program.types.history": ("History",),
        "dspex.program.types.media": ("Audio", "File", "Image"),
        "dspex.program.types.reasoning": ("Reasoning",),
        "dspex.program.types.tool": ("Tool",),
        "dspex.program.types.tool_calls": ("ToolCallResults", "ToolCalls"),
        "dspex.program.vectorizer": ("CharacterVectorizer", "WordVectorizer"),
        "dspex.runtime.callbacks": ("BaseCallback",),
        "dspex.runtime.supervisor": ("ChildSpec", "Supervisor"),
        "dspex.service.breaker": ("BreakerPolicy",),
        "dspex.service.cache": ("Cache",),
        "dspex.service.retry": ("RetryPolicy", "is_retryable_lm_error"),
    }
)
# DSPy's paths, which programs reach without an import of their own.
_PATHS = frozenset(
    {
        "adapters",
        "clients",
        "datasets",
        "dsp",
        "evaluate",
        "experimental",
        "predict",
        "primitives",
        "retrievers",
        "signatures",
        "streaming",
        "teleprompt",
        "utils",
    }
)
# DSPy's names of what is not carried, and what stands in its place.
_SANDBOX = "code of models runs in a sandbox, by pip install dspex-monty or dspex-bwrap; see docs/code.md"
_INSTEAD = MappingProxyType(
    {
        "AvatarOptimizer": "in DSPy it cannot be made; SIMBA and GEPA improve programs with tools",
        "BAMLAdapter": "JSONAdapter writes short schemas, and the reply is held to them where the LM can do that",
        "CodeExecutionError": _SANDBOX,
        "CodeInterpreter": _SANDBOX,
        "CodeInterpreterError": _SANDBOX,
        "ColBERTv2": "give a function of (query, k) that asks your server: dspex.configure(rm=...)",
        "FinalOutput": _SANDBOX,
        "Flex": "programs are optimised as they stand",
        "GRPO": "BootstrapFinetune trains a model on good runs; reinforcement is not there",
        "LocalInterpreter": _SANDBOX,
        "Provider": "providers are plugins: `dspex plugin new NAME --kind provider` begins one",
        "PythonInterpreter": _SANDBOX,
        "SandboxSerializable": _SANDBOX,
        "TrainingJob": "BootstrapFinetune trains, and a provider's plugin holds the job",
        "load_settings": "settings are not read from files: write dspex.configure(...)",
    }
)
_HOME_OF = MappingProxyType({name: module for module, names in _HOMES.items() for name in names})

__all__ = sorted(_HOME_OF)  # noqa: PLE0605  made from the one table


def _found(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is not None:
        value = globals()[name] = getattr(importlib.import_module(home), name)
        return value
    if name in _PATHS:
        return importlib.import_module(f"dspex.{name}")
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("dspex")
    if name in _INSTEAD:
        raise AttributeError(f"dspex has no {name}: {_INSTEAD[name]}.", name=name)  # with it Python guesses no other
    if name[:1].isupper():
        return importlib.import_module("dspex.engine.optimizer").optimizer_class(name, __all__)
    raise AttributeError(f"module 'dspex' has no attribute {name!r}")


def __getattr__(name: str) -> Any:
    try:
        return _found(name)
    except AttributeError as error:
        asking = sys._getframe(1)
        if name[:1].isupper() and importlib.import_module("dspex.core.importing").is_import(asking):
            raise ImportError(f"cannot import name {name!r} from 'dspex': {error}", name="dspex") from error
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
