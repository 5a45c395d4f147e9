"""What `dspex` offers, for type checkers; the names and their homes are those of `dspex/__init__.py`."""

from typing import Any

from dspex.app.accounting import UsageTracker as UsageTracker, budget as budget, track_usage as track_usage
from dspex.app.app import App as App, configure as configure, settings as settings
from dspex.app.lm import LM as LM
from dspex.app.settings import context as context
from dspex.core.candidate import (
    Candidate as Candidate,
    Demo as Demo,
    Estimate as Estimate,
    PredictorState as PredictorState,
    Range as Range,
    Rollout as Rollout,
    Scores as Scores,
    Shape as Shape,
)
from dspex.core.endpoint import Capabilities as Capabilities, Endpoint as Endpoint
from dspex.core.errors import (
    AdapterParseError as AdapterParseError,
    AuthError as AuthError,
    BadRequest as BadRequest,
    BudgetExceeded as BudgetExceeded,
    CircuitOpen as CircuitOpen,
    ConfigurationError as ConfigurationError,
    ContentFiltered as ContentFiltered,
    ContextWindowExceeded as ContextWindowExceeded,
    DspexError as DspexError,
    EvaluationError as EvaluationError,
    InputError as InputError,
    JournalError as JournalError,
    LMError as LMError,
    LMTimeout as LMTimeout,
    MissingPlugin as MissingPlugin,
    MissingPredictor as MissingPredictor,
    PluginError as PluginError,
    ProgramFileError as ProgramFileError,
    ProtocolError as ProtocolError,
    RateLimited as RateLimited,
    RecursionLimit as RecursionLimit,
    RetrieverError as RetrieverError,
    SandboxError as SandboxError,
    SignatureError as SignatureError,
    SignatureTypeError as SignatureTypeError,
    SupervisorFailed as SupervisorFailed,
    ToolError as ToolError,
    Unavailable as Unavailable,
)
from dspex.core.example import Completions as Completions, Example as Example, Prediction as Prediction
from dspex.core.secret import Secret as Secret
from dspex.core.usage import Budget as Budget, Usage as Usage
from dspex.engine.job import Job as Job
from dspex.engine.optimizer import Optimizer as Optimizer
from dspex.evaluate.compare import acompare as acompare, compare as compare
from dspex.evaluate.evaluate import Evaluate as Evaluate, EvaluationResult as EvaluationResult
from dspex.evaluate.statistics import Comparison as Comparison
from dspex.plugin.hookspecs import hookimpl as hookimpl
from dspex.plugin.spec import Spec as Spec
from dspex.program.adapters.chat import ChatAdapter as ChatAdapter
from dspex.program.adapters.json import JSONAdapter as JSONAdapter
from dspex.program.adapters.plain import PlainAdapter as PlainAdapter
from dspex.program.chain_of_thought import ChainOfThought as ChainOfThought
from dspex.program.fields import InputField as InputField, OutputField as OutputField
from dspex.program.module import Module as Module
from dspex.program.predict import Predict as Predict
from dspex.program.signature import (
    Signature as Signature,
    ensure_signature as ensure_signature,
    make_signature as make_signature,
)
from dspex.runtime.callbacks import BaseCallback as BaseCallback
from dspex.runtime.supervisor import ChildSpec as ChildSpec, Supervisor as Supervisor
from dspex.service.retry import is_retryable_lm_error as is_retryable_lm_error

__version__: str
__all__: list[str]

# Classes of plugins, found by name at run time.
BootstrapFewShot: Any
BootstrapFewShotWithRandomSearch: Any
BootstrapRS: Any
LabeledFewShot: Any
