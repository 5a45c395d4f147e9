"""DSPy's names of errors, for programs that catch them; each is one of ours."""

from dspex.core.errors import (
    AuthError,
    BadRequest,
    ConfigurationError,
    ContextWindowExceeded,
    DspexError,
    LMError,
    LMTimeout,
    ProtocolError,
    RateLimited,
    Unavailable,
)

DSPyError = DspexError
LMProviderError = LMError
LMRateLimitError = RateLimited
LMTimeoutError = LMTimeout
LMAuthError = LMBillingError = AuthError
LMServerError = LMTransportError = LMLockTimeoutError = Unavailable
LMInvalidRequestError = LMUnsupportedModelError = LMUnsupportedFeatureError = BadRequest
LMUnexpectedError = LMStreamAssemblyError = LMCollectionLimitError = ProtocolError
LMConfigurationError = LMNotConfiguredError = ConfigurationError
ContextWindowExceededError = ContextWindowExceeded
