"""A provider in its smallest whole form."""

from collections.abc import Iterator

from dspex.plugin import BadRequest, Capabilities, Choice, Endpoint, HttpClient, LMRequest, LMResponse, Text, Usage

HONOURED = frozenset(
    {"max_tokens", "temperature", "top_p", "seed", "frequency_penalty", "presence_penalty"}
)  # an echo draws nothing, so how to draw is honoured by itself
KINDS = {"Image": "images", "Audio": "audio", "File": "files"}  # all others are of tools


class EchoProvider:
    """Answers with the last user message, as often as it is asked to; `http` is not used.

    It holds nothing that a call changes, so any number of loops and threads may share it.
    """

    capabilities = Capabilities(
        chat=True, stream=False, n=True, json_schema=False, tools=False, logprobs=False, grammar=False, images=False
    )

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self._model = endpoint.model

    async def complete(self, request: LMRequest) -> LMResponse:
        """The last user message; tokens are words. Raises BadRequest for what an echo lacks, and for no user message."""
        for name in lacking(request):
            raise BadRequest(f"An echo has no {name}: call it without.", model=self._model, provider="echo")
        said = [message.text for message in request.messages if message.role == "user"]
        if not said:
            raise BadRequest("There is no user message to answer with.", model=self._model, provider="echo")
        words, limit = said[-1].split(), request.params.get("max_tokens")
        is_cut = limit is not None and len(words) > limit
        choice = Choice(" ".join(words[:limit]), (), "length") if is_cut else Choice(said[-1])
        words_in = sum(len(message.text.split()) for message in request.messages)
        usage = Usage(input_tokens=words_in, output_tokens=len(choice.text.split()) * request.n)
        return LMResponse((choice,) * request.n, usage, self._model)


def lacking(request: LMRequest) -> Iterator[str]:
    """What a request asks for and would not get, by the name of the parameter or the capability."""
    yield from request.params.keys() - HONOURED - {"reasoning_effort"}
    if "reasoning_effort" in request.params:
        yield "reasoning"
    if request.tools:
        yield "tools"
    if request.schema is not None:
        yield "json_schema"
    parts = [part for message in request.messages for part in message.parts]
    yield from (KINDS.get(type(part).__name__, "tools") for part in parts if not isinstance(part, Text))
