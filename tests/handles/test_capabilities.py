"""What a user knows of a model goes before what its provider's table says."""

import asyncio

import pytest

import dspex
from dspex.plugin import Choice, LMResponse


class Old:
    """A provider whose table is of another year."""

    capabilities = dspex.Capabilities(chat=True, n=False, json_schema=False, images=False, max_output_tokens=9)

    def __init__(self):
        self.requests = []

    async def complete(self, request):
        self.requests.append(request)
        return LMResponse((Choice('{"answer": "4"}'),) * request.n)


PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x.test/a.png"}}]}]


@pytest.mark.parametrize("form", [dict, dspex.Capabilities], ids=["dict", "Capabilities"])
def test_what_a_user_knows_is_what_holds(form):
    provider = Old()
    lm = dspex.LM("acme/m", provider=provider, cache=False, capabilities=form(n=True, json_schema=True, images=True))
    assert lm.supports_response_schema
    assert {"temperature", "response_format"} <= lm.supported_params
    assert not {"tools", "reasoning_effort"} & lm.supported_params
    assert lm.capabilities.max_output_tokens == 9  # the rest is as it was
    lm("2+2?", n=3)
    lm(messages=PICTURE)
    with dspex.context(lm=lm, adapter=dspex.JSONAdapter()):
        dspex.Predict("question -> answer")(question="2+2?")
    assert [request.n for request in provider.requests] == [3, 1, 1]
    assert provider.requests[2].schema is not None


def test_another_handle_and_a_copy_have_their_own():
    provider = Old()
    plain = dspex.LM("acme/m", provider=provider)
    better = plain.copy(capabilities={"json_schema": True})
    assert [lm.capabilities.json_schema for lm in (plain, better, better.copy(capabilities=None))] == [
        False,
        True,
        False,
    ]
    assert better.copy(temperature=0.5).capabilities.json_schema is True
    with pytest.raises(dspex.BadRequest, match="takes no pictures"):
        plain(messages=PICTURE)


def test_they_are_put_together_once_and_anew_when_the_provider_says_other_things():
    provider = Old()
    lm = dspex.LM("acme/m", provider=provider, capabilities={"n": True})
    assert lm.capabilities is lm.capabilities
    provider.capabilities = dspex.Capabilities(n=False, max_output_tokens=7)
    assert (lm.capabilities.n, lm.capabilities.max_output_tokens) == (True, 7)


@pytest.mark.parametrize(
    ("given", "told"), [({"vision": True}, "'vision'"), ({"image": True}, "mean 'images'"), ({"n": 3}, "bool")]
)
def test_what_is_no_capability_is_refused(given, told):
    with pytest.raises(dspex.ConfigurationError, match=told):
        dspex.LM("acme/m", provider=Old(), capabilities=given)


def test_they_are_the_handles_and_no_parameter_of_a_call():
    lm = dspex.LM("acme/m", provider=Old())
    with pytest.raises(dspex.ConfigurationError, match="belongs to the handle"):
        asyncio.run(lm.acall("?", capabilities={"n": True}))
    assert "capabilities" not in lm.copy(capabilities={"n": True}).dump_state()
