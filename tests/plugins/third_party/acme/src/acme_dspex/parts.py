"""A provider, a middleware and a subscriber, written against `dspex.plugin` only."""

from dspex.plugin import BadRequest, LMResponse, Usage

HEARD = []


class Provider:
    """Answers in the form it is asked for, with the model's name."""

    notice = "Acme's models are made of lemons."

    def __init__(self, endpoint, http):
        self.model = endpoint.model

    async def complete(self, request):
        if self.model == "none":
            raise BadRequest("Acme has no such model.")
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{self.model} says 4", Usage(10, 5))


def stamp():
    """The factory of a middleware, which is any async callable."""

    async def stamped(request, call_next):
        reply = await call_next(request)
        return LMResponse.from_text(reply.text + ", stamped", reply.usage)

    return stamped


class Listener:
    """Keeps the names of all events."""

    def on_event(self, event):
        HEARD.append(type(event).__name__)
