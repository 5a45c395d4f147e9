"""DSPy's names of errors catch ours, and what DSPy keeps in a plugin says where it is."""

import pytest

import dspex


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("DSPyError", dspex.RateLimited),
        ("LMProviderError", dspex.AuthError),
        ("LMRateLimitError", dspex.RateLimited),
        ("LMTimeoutError", dspex.LMTimeout),
        ("LMAuthError", dspex.AuthError),
        ("LMBillingError", dspex.AuthError),
        ("LMServerError", dspex.Unavailable),
        ("LMTransportError", dspex.Unavailable),
        ("LMLockTimeoutError", dspex.Unavailable),
        ("LMInvalidRequestError", dspex.ContextWindowExceeded),
        ("LMUnsupportedModelError", dspex.BadRequest),
        ("LMUnsupportedFeatureError", dspex.BadRequest),
        ("LMUnexpectedError", dspex.ProtocolError),
        ("LMStreamAssemblyError", dspex.ProtocolError),
        ("LMCollectionLimitError", dspex.ProtocolError),
        ("LMConfigurationError", dspex.ConfigurationError),
        ("LMNotConfiguredError", dspex.ConfigurationError),
        ("ContextWindowExceededError", dspex.ContextWindowExceeded),
    ],
)
def test_an_error_is_caught_by_its_name_in_dspy(theirs, ours):
    with pytest.raises(getattr(dspex, theirs)):
        raise ours("no")


def test_a_call_without_an_lm_is_an_lm_that_is_not_configured():
    with pytest.raises(dspex.LMNotConfiguredError):
        dspex.Predict("question -> answer")(question="?")


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (dspex.LMRateLimitError(), True),
        (dspex.LMTimeoutError(), True),
        (dspex.LMServerError(), True),
        (dspex.LMTransportError(), True),
        (dspex.LMAuthError(), False),
        (dspex.LMInvalidRequestError(), False),
        (dspex.ContextWindowExceededError(), False),
        (ValueError(), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_may_succeed_later_is_retryable(error, retryable):
    assert dspex.is_retryable_lm_error(error) is retryable


def test_an_error_says_its_model_first():
    error = dspex.LMServerError("down", model="x/y", provider="x", status=503, request_id="7", retry_after=2.0)
    assert str(error) == "[x/y] down"
    assert (error.provider, error.status, error.request_id, error.retry_after) == ("x", 503, "7", 2.0)


def test_a_search_in_memory_says_which_package_has_it():
    with pytest.raises(dspex.ConfigurationError, match="dspex-vectors"):
        dspex.Embeddings(["a text"], lambda texts: [[1.0]] * len(texts))("a text")
