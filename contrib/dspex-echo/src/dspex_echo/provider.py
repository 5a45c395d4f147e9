"""A provider in its smallest whole form."""

from dspex.plugin import BadRequest, Capabilities, Choice, Endpoint, HttpClient, LMRequest, LMResponse, Usage


class EchoProvider:
    """Answers with the last user message, as often as it is asked to; `http` is not used.

    It holds nothing that a call changes, so any number of loops and threads may share it.
    """

    capabilities = Capabilities(chat=True, stream=False, n=True, json_schema=False, tools=False)

    def __init__(self, endpoint: Endpoint, http: HttpClient) -> None:
        self._model = endpoint.model

    async def complete(self, request: LMRequest) -> LMResponse:
        """The last user message; usage is in words. Raises BadRequest for tools, a schema, or no user message."""
        for capability, asked in (("tools", request.tools), ("json_schema", request.schema)):
            if asked:
                raise BadRequest(f"An echo has no {capability}: call it without.", model=self._model, provider="echo")
        said = [message.text for message in request.messages if message.role == "user"]
        if not said:
            raise BadRequest("There is no user message to answer with.", model=self._model, provider="echo")
        words_in = sum(len(message.text.split()) for message in request.messages)
        usage = Usage(input_tokens=words_in, output_tokens=len(said[-1].split()) * request.n)
        return LMResponse(tuple(Choice(said[-1]) for _ in range(request.n)), usage, self._model)
