"""Floor 3: what a plugin author needs, all importable from `dspex.plugin`."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dspex.core.batches import BatchResults, BatchSpec, BatchStatus
    from dspex.core.dictionaries import to_dictionaries, to_message, to_turns
    from dspex.core.endpoint import Capabilities, Endpoint
    from dspex.core.errors import (
        AdapterParseError,
        AuthError,
        BadRequest,
        ConfigurationError,
        ContentFiltered,
        ContextWindowExceeded,
        InputError,
        LMError,
        LMTimeout,
        PluginError,
        ProtocolError,
        RateLimited,
        RetrieverError,
        SandboxError,
        ToolError,
        Unavailable,
    )
    from dspex.core.finetune import FineTuneSpec, FineTuneStatus, LMRef
    from dspex.core.messages import (
        Audio,
        Choice,
        File,
        Image,
        LMDelta,
        LMRequest,
        LMResponse,
        Message,
        Part,
        Passage,
        RetrieverRequest,
        Text,
        Thought,
        ToolCall,
        ToolCallPiece,
        ToolResult,
        Vectors,
    )
    from dspex.core.sandbox import Output, SandboxLimits
    from dspex.core.secret import Headers, Secret
    from dspex.core.usage import Budget, Usage
    from dspex.core.where import Condition, all_hold
    from dspex.core.wire import Framing, HttpReply, MakeFraming, ServerEvent
    from dspex.plugin.adapters import Adapter, FieldPieces, FieldView, ReplyParser, SignatureView
    from dspex.plugin.compile_context import CompileContext
    from dspex.plugin.content import DataUrl, call_arguments, data_url
    from dspex.plugin.contracts import (
        BatchingProvider,
        CacheBackend,
        CallNext,
        CodeTool,
        EmbeddingProvider,
        EndpointClient,
        Executor,
        FineTuningProvider,
        HttpClient,
        LMProvider,
        Middleware,
        RetrieverProvider,
        Sandbox,
        SandboxSession,
        SearchingRetriever,
        SecretSource,
        StreamingProvider,
        Subscriber,
    )
    from dspex.plugin.decoding import decode_json
    from dspex.plugin.executors import (
        Artifact,
        CallRecord,
        Chunk,
        ChunkSettings,
        ExecutorRecord,
        Fault,
        RolloutRecord,
        Task,
    )
    from dspex.plugin.hookspecs import hookimpl as hookimpl
    from dspex.plugin.locks import locked
    from dspex.plugin.parts import by_parts
    from dspex.plugin.per_loop import PerLoop
    from dspex.plugin.spec import API_VERSION, Spec
    from dspex.plugin.statuses import status_error
    from dspex.plugin.tokens import BearerHttp, BearerTokens, Token, tokens_by

__all__ = [
    "API_VERSION",
    "Adapter",
    "AdapterParseError",
    "Artifact",
    "Audio",
    "AuthError",
    "BadRequest",
    "BatchResults",
    "BatchSpec",
    "BatchStatus",
    "BatchingProvider",
    "BearerHttp",
    "BearerTokens",
    "Budget",
    "CacheBackend",
    "CallNext",
    "CallRecord",
    "Capabilities",
    "Choice",
    "Chunk",
    "ChunkSettings",
    "CodeTool",
    "CompileContext",
    "Condition",
    "ConfigurationError",
    "ContentFiltered",
    "ContextWindowExceeded",
    "DataUrl",
    "EmbeddingProvider",
    "Endpoint",
    "EndpointClient",
    "Executor",
    "ExecutorRecord",
    "Fault",
    "FieldPieces",
    "FieldView",
    "File",
    "FineTuneSpec",
    "FineTuneStatus",
    "FineTuningProvider",
    "Framing",
    "Headers",
    "HttpClient",
    "HttpReply",
    "Image",
    "InputError",
    "LMDelta",
    "LMError",
    "LMProvider",
    "LMRef",
    "LMRequest",
    "LMResponse",
    "LMTimeout",
    "MakeFraming",
    "Message",
    "Middleware",
    "Output",
    "Part",
    "Passage",
    "PerLoop",
    "PluginError",
    "ProtocolError",
    "RateLimited",
    "ReplyParser",
    "RetrieverError",
    "RetrieverProvider",
    "RetrieverRequest",
    "RolloutRecord",
    "Sandbox",
    "SandboxError",
    "SandboxLimits",
    "SandboxSession",
    "SearchingRetriever",
    "Secret",
    "SecretSource",
    "ServerEvent",
    "SignatureView",
    "Spec",
    "StreamingProvider",
    "Subscriber",
    "Task",
    "Text",
    "Thought",
    "Token",
    "ToolCall",
    "ToolCallPiece",
    "ToolError",
    "ToolResult",
    "Unavailable",
    "Usage",
    "Vectors",
    "all_hold",
    "by_parts",
    "call_arguments",
    "data_url",
    "decode_json",
    "hookimpl",
    "locked",
    "status_error",
    "to_dictionaries",
    "to_message",
    "to_turns",
    "tokens_by",
]


_HOMES = (
    *(
        "core.batches",
        "core.endpoint",
        "core.errors",
        "core.finetune",
        "core.messages",
        "core.sandbox",
        "core.secret",
        "core.usage",
        "core.where",
        "core.wire",
        "core.dictionaries",
    ),
    *(
        "plugin.content",
        "plugin.contracts",
        "plugin.adapters",
        "plugin.compile_context",
        "plugin.decoding",
        "plugin.executors",
        "plugin.hookspecs",
        "plugin.locks",
        "plugin.parts",
        "plugin.per_loop",
        "plugin.spec",
        "plugin.statuses",
        "plugin.tokens",
    ),
)


def __getattr__(name: str) -> Any:
    # A service that needs one small thing of this floor must not pay for all the contracts.
    if name in __all__:
        for home in _HOMES:
            module = import_module(f"dspex.{home}")
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module 'dspex.plugin' has no attribute {name!r}")
