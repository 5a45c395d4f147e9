"""Doubles for tests of programs: a scripted LM behind the real service, and a vectoriser without a model."""

import threading
from collections.abc import Callable, Iterable, Mapping
from operator import mul
from typing import Any

from dspex.app.app import default_app
from dspex.app.lm import LM
from dspex.core.dictionaries import to_dictionaries
from dspex.core.endpoint import Capabilities
from dspex.core.messages import Choice, LMRequest, LMResponse, Passage
from dspex.core.usage import Usage
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.vectorizer import CharacterVectorizer

NO_MORE = "No more responses"


class ScriptedProvider:
    """An LMProvider that answers from a script; safe to use from several threads, each answer is given once.

    A list (or iterator) of dictionaries is read in order; a dictionary maps a text to an answer, and the first key
    contained in the last message wins. Fields that a prompt in chat form does not ask for are left out, so that one script
    serves several signatures. With `follow_examples` the output of a demo with the same input comes first.
    """

    capabilities = Capabilities(chat=True, n=True, images=True)

    def __init__(
        self,
        answers: Iterable[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]],
        follow_examples: bool = False,
        reasoning: bool = False,
        adapter: Any = None,
    ) -> None:
        self._by_text = answers if isinstance(answers, Mapping) else None
        self._in_order = iter(()) if isinstance(answers, Mapping) else iter(answers)
        self._follow_examples = follow_examples
        self._reasoning = "Some reasoning" if reasoning else None
        self._adapter = adapter or ChatAdapter()
        self._lock = threading.Lock()

    async def complete(self, request: LMRequest) -> LMResponse:
        """The next answers, one for each of `n`."""
        choices = tuple(Choice(self._answer(request), reasoning=self._reasoning) for _ in range(request.n))
        return LMResponse(choices, Usage(), request.model)

    def _answer(self, request: LMRequest) -> str:
        if self._follow_examples and (copied := self._demo_answer(request)) is not None:
            return copied
        if self._by_text is not None:
            asked = request.messages[-1].text
            fields = next((fields for text, fields in self._by_text.items() if text in asked), None)
            return NO_MORE if fields is None else self._formatted(_asked(fields, request))
        with self._lock:
            fields = next(self._in_order, None)
        return self._formatted({"answer": NO_MORE} if fields is None else _asked(fields, request))

    def _demo_answer(self, request: LMRequest) -> str | None:
        *earlier, last = request.messages
        wanted = _inputs_of(last.text)
        for asked, answered in zip(reversed(earlier[:-1]), reversed(earlier[1:]), strict=True):
            if asked.role == "user" and answered.role == "assistant" and _inputs_of(asked.text) == wanted:
                return answered.text
        return None

    def _formatted(self, fields: Mapping[str, Any]) -> str:
        return str(self._adapter.format_fields(fields))


def _asked(fields: Mapping[str, Any], request: LMRequest) -> Mapping[str, Any]:
    """Those that the prompt has a marker for, as of a model that does what it is told; all, where it has none."""
    prompt = "\n".join(message.text for message in request.messages)
    wanted = {name: value for name, value in fields.items() if f"[[ ## {name} ## ]]" in prompt}
    return wanted or fields


def _inputs_of(text: str) -> str:
    # The last turn ends with a reminder of the outputs that demos do not have.
    return text.split("\n\nRespond", 1)[0].split("\n\nReply", 1)[0].strip()


class DummyLM(LM):
    """An LM with scripted answers for tests of programs; never cached, usage all zeros (`ScriptedProvider`)."""

    def __init__(
        self,
        answers: Iterable[Mapping[str, Any]] | Mapping[str, Mapping[str, Any]],
        follow_examples: bool = False,
        reasoning: bool = False,
        adapter: Any = None,
        **kwargs: Any,
    ) -> None:
        provider = ScriptedProvider(answers, follow_examples, reasoning, adapter)
        super().__init__("dummy", cache=False, num_retries=0, provider=provider, **kwargs)

    def get_convo(self, index: int) -> tuple[list[dict[str, Any]], list[Any]]:
        """Messages and outputs of one call."""
        entry = self._history[index]
        messages = [turn for message in entry.request.messages for turn in to_dictionaries(message)]
        return messages, [choice.text for choice in entry.response.choices]


DummyVectorizer = CharacterVectorizer  # DSPy's name


def dummy_rm(passages: Iterable[str] = ()) -> Callable[..., list[Passage]]:
    """A retriever for `configure(rm=...)` that finds among these texts those with the most spelling in common."""
    texts = list(passages)
    vectors = CharacterVectorizer()(texts)

    def search(query: str, *, k: int = 3, **_ignored: Any) -> list[Passage]:
        (asked,) = CharacterVectorizer()([query])
        scores = [sum(map(mul, asked, one)) for one in vectors]
        best = sorted(range(len(texts)), key=lambda place: -scores[place])[:k]
        return [Passage(texts[place], score=scores[place], id=str(place)) for place in best]

    return search


def reset() -> None:
    """Put every setting of the default App back by giving it a new one; the old one is closed."""
    before = default_app.replace(None)
    if before is not None:
        before.close()
