# What `dspex` offers, for type checkers; the names and their homes are those of `dspex/__init__.py`.

from typing import Any

from dspex import adapters as adapters
from dspex import clients as clients
from dspex import datasets as datasets
from dspex import dsp as dsp
from dspex import evaluate as evaluate
from dspex import experimental as experimental
from dspex import predict as predict
from dspex import primitives as primitives
from dspex import retrievers as retrievers
from dspex import signatures as signatures
from dspex import streaming as streaming
from dspex import teleprompt as teleprompt
from dspex import utils as utils
from dspex.app.accounting import UsageTracker as UsageTracker
from dspex.app.accounting import budget as budget
from dspex.app.accounting import track_usage as track_usage
from dspex.app.app import App as App
from dspex.app.app import configure as configure
from dspex.app.base_lm import BaseLM as BaseLM
from dspex.app.cache import cache as cache
from dspex.app.cache import configure_cache as configure_cache
from dspex.app.cassette import cassette as cassette
from dspex.app.current import context as context
from dspex.app.current import settings as settings
from dspex.app.embedder import Embedder as Embedder
from dspex.app.fallback import Fallback as Fallback
from dspex.app.hedged import Hedged as Hedged
from dspex.app.history import inspect_history as inspect_history
from dspex.app.lm import LM as LM
from dspex.app.logging import disable_litellm_logging as disable_litellm_logging
from dspex.app.logging import disable_logging as disable_logging
from dspex.app.logging import enable_litellm_logging as enable_litellm_logging
from dspex.app.logging import enable_logging as enable_logging
from dspex.app.retriever import Retriever as Retriever
from dspex.app.threads import carry as carry
from dspex.core.candidate import (
    Candidate as Candidate,
)
from dspex.core.candidate import (
    Demo as Demo,
)
from dspex.core.candidate import (
    Estimate as Estimate,
)
from dspex.core.candidate import (
    Failure as Failure,
)
from dspex.core.candidate import (
    PredictorState as PredictorState,
)
from dspex.core.candidate import (
    Range as Range,
)
from dspex.core.candidate import (
    Rollout as Rollout,
)
from dspex.core.candidate import (
    Scores as Scores,
)
from dspex.core.candidate import (
    Shape as Shape,
)
from dspex.core.dspy_errors import ContextWindowExceededError as ContextWindowExceededError
from dspex.core.dspy_errors import DSPyError as DSPyError
from dspex.core.dspy_errors import LMAuthError as LMAuthError
from dspex.core.dspy_errors import LMBillingError as LMBillingError
from dspex.core.dspy_errors import LMCollectionLimitError as LMCollectionLimitError
from dspex.core.dspy_errors import LMConfigurationError as LMConfigurationError
from dspex.core.dspy_errors import LMInvalidRequestError as LMInvalidRequestError
from dspex.core.dspy_errors import LMLockTimeoutError as LMLockTimeoutError
from dspex.core.dspy_errors import LMNotConfiguredError as LMNotConfiguredError
from dspex.core.dspy_errors import LMProviderError as LMProviderError
from dspex.core.dspy_errors import LMRateLimitError as LMRateLimitError
from dspex.core.dspy_errors import LMServerError as LMServerError
from dspex.core.dspy_errors import LMStreamAssemblyError as LMStreamAssemblyError
from dspex.core.dspy_errors import LMTimeoutError as LMTimeoutError
from dspex.core.dspy_errors import LMTransportError as LMTransportError
from dspex.core.dspy_errors import LMUnexpectedError as LMUnexpectedError
from dspex.core.dspy_errors import LMUnsupportedFeatureError as LMUnsupportedFeatureError
from dspex.core.dspy_errors import LMUnsupportedModelError as LMUnsupportedModelError
from dspex.core.endpoint import Capabilities as Capabilities
from dspex.core.endpoint import Endpoint as Endpoint
from dspex.core.errors import (
    AdapterParseError as AdapterParseError,
)
from dspex.core.errors import (
    AuthError as AuthError,
)
from dspex.core.errors import (
    BadRequest as BadRequest,
)
from dspex.core.errors import (
    BudgetExceeded as BudgetExceeded,
)
from dspex.core.errors import (
    CassetteError as CassetteError,
)
from dspex.core.errors import (
    CassetteMiss as CassetteMiss,
)
from dspex.core.errors import (
    CircuitOpen as CircuitOpen,
)
from dspex.core.errors import (
    CodeError as CodeError,
)
from dspex.core.errors import (
    ConfigurationError as ConfigurationError,
)
from dspex.core.errors import (
    ContentFiltered as ContentFiltered,
)
from dspex.core.errors import (
    ContextWindowExceeded as ContextWindowExceeded,
)
from dspex.core.errors import (
    DatasetError as DatasetError,
)
from dspex.core.errors import (
    DspexError as DspexError,
)
from dspex.core.errors import (
    EvaluationError as EvaluationError,
)
from dspex.core.errors import (
    ExecutorFailed as ExecutorFailed,
)
from dspex.core.errors import (
    FallbackFailed as FallbackFailed,
)
from dspex.core.errors import (
    InputError as InputError,
)
from dspex.core.errors import (
    JournalError as JournalError,
)
from dspex.core.errors import (
    LMError as LMError,
)
from dspex.core.errors import (
    LMTimeout as LMTimeout,
)
from dspex.core.errors import (
    MediaFileMissing as MediaFileMissing,
)
from dspex.core.errors import (
    MissingPlugin as MissingPlugin,
)
from dspex.core.errors import (
    MissingPredictor as MissingPredictor,
)
from dspex.core.errors import (
    PluginError as PluginError,
)
from dspex.core.errors import (
    ProgramFileError as ProgramFileError,
)
from dspex.core.errors import (
    ProgramFileMissing as ProgramFileMissing,
)
from dspex.core.errors import (
    ProtocolError as ProtocolError,
)
from dspex.core.errors import (
    RateLimited as RateLimited,
)
from dspex.core.errors import (
    RecursionLimit as RecursionLimit,
)
from dspex.core.errors import (
    RemoteError as RemoteError,
)
from dspex.core.errors import (
    RetrieverError as RetrieverError,
)
from dspex.core.errors import (
    SandboxError as SandboxError,
)
from dspex.core.errors import (
    SignatureError as SignatureError,
)
from dspex.core.errors import (
    SignatureTypeError as SignatureTypeError,
)
from dspex.core.errors import (
    SupervisorFailed as SupervisorFailed,
)
from dspex.core.errors import (
    ToolError as ToolError,
)
from dspex.core.errors import (
    ToolInputError as ToolInputError,
)
from dspex.core.errors import (
    Unavailable as Unavailable,
)
from dspex.core.errors import (
    WorkerLost as WorkerLost,
)
from dspex.core.evidence import Comparison as Comparison
from dspex.core.example import Completions as Completions
from dspex.core.example import Example as Example
from dspex.core.example import Prediction as Prediction
from dspex.core.finetune import FineTuneSpec as FineTuneSpec
from dspex.core.finetune import FineTuneStatus as FineTuneStatus
from dspex.core.messages import Passage as Passage
from dspex.core.sandbox import SandboxLimits as SandboxLimits
from dspex.core.secret import Secret as Secret
from dspex.core.usage import Budget as Budget
from dspex.core.usage import Usage as Usage
from dspex.core.wire import HttpLimits as HttpLimits
from dspex.engine.attached import AttachedJob as AttachedJob
from dspex.engine.job import Job as Job
from dspex.engine.optimize import aoptimize as aoptimize
from dspex.engine.optimize import optimize as optimize
from dspex.engine.optimizer import Optimizer as Optimizer
from dspex.engine.quote import Quote as Quote
from dspex.engine.trace_data import abootstrap_trace_data as abootstrap_trace_data
from dspex.engine.trace_data import bootstrap_trace_data as bootstrap_trace_data
from dspex.engine.traces import read_traces as read_traces
from dspex.engine.traces import write_traces as write_traces
from dspex.engine.workplace import Workplace as Workplace
from dspex.evaluate.compare import acompare as acompare
from dspex.evaluate.compare import compare as compare
from dspex.evaluate.datasets import load_examples as load_examples
from dspex.evaluate.datasets import read_examples as read_examples
from dspex.evaluate.evaluate import Evaluate as Evaluate
from dspex.evaluate.evaluate import EvaluationResult as EvaluationResult
from dspex.plugin.hookspecs import hookimpl as hookimpl
from dspex.plugin.spec import Spec as Spec
from dspex.program.adapters.adapter import Adapter as Adapter
from dspex.program.adapters.chat import ChatAdapter as ChatAdapter
from dspex.program.adapters.json import JSONAdapter as JSONAdapter
from dspex.program.adapters.plain import PlainAdapter as PlainAdapter
from dspex.program.adapters.two_step import TwoStepAdapter as TwoStepAdapter
from dspex.program.adapters.xml import XMLAdapter as XMLAdapter
from dspex.program.best_of_n import BestOfN as BestOfN
from dspex.program.chain_of_thought import ChainOfThought as ChainOfThought
from dspex.program.code_act import CodeAct as CodeAct
from dspex.program.embeddings import Embeddings as Embeddings
from dspex.program.embeddings import EmbeddingsWithScores as EmbeddingsWithScores
from dspex.program.fields import InputField as InputField
from dspex.program.fields import OutputField as OutputField
from dspex.program.fields import infer_prefix as infer_prefix
from dspex.program.function_module import module as module
from dspex.program.knn import KNN as KNN
from dspex.program.loading import load as load
from dspex.program.majority import majority as majority
from dspex.program.module import BaseModule as BaseModule
from dspex.program.module import Module as Module
from dspex.program.multi_chain_comparison import MultiChainComparison as MultiChainComparison
from dspex.program.nearest_demos import NearestDemos as NearestDemos
from dspex.program.parallel import Parallel as Parallel
from dspex.program.predict import Predict as Predict
from dspex.program.program_of_thought import ProgramOfThought as ProgramOfThought
from dspex.program.react import ReAct as ReAct
from dspex.program.react import ReActV2 as ReActV2
from dspex.program.refine import Refine as Refine
from dspex.program.retrieve import Retrieve as Retrieve
from dspex.program.rlm import RLM as RLM
from dspex.program.signature import (
    Signature as Signature,
)
from dspex.program.signature import (
    SignatureMeta as SignatureMeta,
)
from dspex.program.signature import (
    ensure_signature as ensure_signature,
)
from dspex.program.signature import (
    make_signature as make_signature,
)
from dspex.program.streaming.streamify import streamify as streamify
from dspex.program.sync import asyncify as asyncify
from dspex.program.sync import syncify as syncify
from dspex.program.types.base import Type as Type
from dspex.program.types.citations import Citations as Citations
from dspex.program.types.citations import Document as Document
from dspex.program.types.code import Code as Code
from dspex.program.types.history import History as History
from dspex.program.types.media import Audio as Audio
from dspex.program.types.media import File as File
from dspex.program.types.media import Image as Image
from dspex.program.types.reasoning import Reasoning as Reasoning
from dspex.program.types.tool import Tool as Tool
from dspex.program.types.tool_calls import ToolCallResults as ToolCallResults
from dspex.program.types.tool_calls import ToolCalls as ToolCalls
from dspex.program.vectorizer import CharacterVectorizer as CharacterVectorizer
from dspex.program.vectorizer import WordVectorizer as WordVectorizer
from dspex.runtime.callbacks import BaseCallback as BaseCallback
from dspex.runtime.supervisor import ChildSpec as ChildSpec
from dspex.runtime.supervisor import Supervisor as Supervisor
from dspex.service.breaker import BreakerPolicy as BreakerPolicy
from dspex.service.cache import Cache as Cache
from dspex.service.retry import RetryPolicy as RetryPolicy
from dspex.service.retry import is_retryable_lm_error as is_retryable_lm_error

__version__: str

# Classes of plugins, found by name at run time.
BootstrapFewShot: Any
BootstrapFewShotWithRandomSearch: Any
BootstrapRS: Any
Ensemble: Any
KNNFewShot: Any
LabeledFewShot: Any
