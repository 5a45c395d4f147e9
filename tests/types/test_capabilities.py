"""What a model says it cannot take is refused before it is asked."""

import pytest

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.dictionaries import to_message
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BadRequest
from dspex.core.messages import LMDelta, LMRequest, LMResponse
from dspex.core.usage import Usage

PICTURE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://host/cat.png"}}]}]


class Provider:
    """Counts what reaches it."""

    def __init__(self, images: bool | None) -> None:
        self.capabilities = Capabilities(chat=True, images=images)
        self.calls = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        self.calls += 1
        return LMResponse.from_text("a cat", Usage())

    async def stream(self, request: LMRequest):
        self.calls += 1
        yield LMDelta("a cat", finish_reason="stop")


@pytest.mark.parametrize("images", [True, None])
async def test_a_picture_goes_to_a_model_that_may_take_it(images):
    provider = Provider(images)
    async with App():
        assert await LM("m", provider=provider).acall(messages=PICTURE) == ["a cat"]


async def test_a_picture_is_refused_for_a_model_that_takes_none():
    provider = Provider(False)
    async with App():
        lm = LM("m", provider=provider)
        with pytest.raises(BadRequest, match="capability: images"):
            await lm.acall(messages=PICTURE)
        with pytest.raises(BadRequest, match="capability: images"):
            _ = [delta async for delta in lm.stream(lm.request((to_message(PICTURE[0]),), {}))]
        assert await lm.acall("What is it?") == ["a cat"]
    assert provider.calls == 1
