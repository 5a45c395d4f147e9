"""What stands for providers while a tape is played: no plugin, key or network is needed."""

from collections.abc import Mapping
from typing import Any, NoReturn

import msgspec

from dspex.app.app import current_app
from dspex.app.endpoints import Connection
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import CassetteMiss
from dspex.service.attempts import Terms
from dspex.service.embedder import EmbeddingService
from dspex.service.lm import LMService
from dspex.service.retriever import RetrieverService
from dspex.service.tape import Tape


class Absent:
    """A provider that is not there; its calls are on the tape."""

    def __init__(self, name: str, capabilities: Capabilities | None) -> None:
        self.capabilities = capabilities
        self._name = name

    def _none(self, *_: Any) -> NoReturn:
        raise CassetteMiss(f"{self._name!r} is played from a cassette and cannot do this.")

    complete = stream = embed = retrieve = add = delete = save = _none


def played_lm(
    tape: Tape, connection: Connection, name: str, given: Mapping[str, Any], provider: Any
) -> tuple[LMService, dict[str, Any]]:
    """The service of an LM, and those of its keywords that are parameters."""
    app = current_app()
    if provider is not None:
        start, _, model = name.rpartition("/")
        endpoint = connection.bare(start or "custom", model)
        params = dict(given)
    else:
        start, _, model = name.partition("/")
        known = tape.source("lm", name).options
        options = {word: value for word, value in given.items() if word in known}
        params = {word: value for word, value in given.items() if word not in known}
        endpoint = msgspec.structs.replace(connection.bare(start, model), options=options)
    absent = Absent(name, tape.source("lm", f"{endpoint.provider}/{endpoint.model}").capabilities)
    return LMService(endpoint, absent, app.shared, app.attempts(endpoint, Terms())), params


def played_embedder(endpoint: Endpoint, is_local: bool) -> EmbeddingService:
    """The service of an Embedder."""
    app = current_app()
    absent = Absent(endpoint.provider, None)
    return EmbeddingService(endpoint, absent, app.shared, app.attempts(endpoint, Terms()), is_local)


def played_retriever(endpoint: Endpoint) -> RetrieverService:
    """The service of a Retriever."""
    app = current_app()
    absent = Absent(endpoint.provider, None)
    return RetrieverService(endpoint, absent, app.shared, app.attempts(endpoint, Terms()))
