"""What every adapter must do, as tests that a plugin's own test class inherits; no model, no network."""

import asyncio
import copy
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.dictionaries import to_message
from dspex.core.errors import AdapterParseError
from dspex.core.messages import LMRequest, LMResponse
from dspex.plugin.adapters import Adapter
from dspex.program.predict import Predict
from dspex.program.signature import Signature

ROLES = frozenset({"system", "developer", "user", "assistant"})
THREADS = 8
ASKED: Mapping[str, Any] = MappingProxyType({"question": "How far is the moon?", "count": 41})
ANSWER: Mapping[str, Any] = MappingProxyType(
    {"answer": "Three days away.", "tags": ["near", "round"], "score": 7, "verdict": "no"}
)
DEMOS: Sequence[Mapping[str, Any]] = (
    {"question": "Is it late?", "count": 52, "answer": "Not yet.", "tags": ["time"], "score": 1, "verdict": "yes"},
    {"question": "Who calls?", "count": 63, "answer": "A friend.", "tags": [], "score": 2, "verdict": "no"},
)
JUNK = ("", " \n\t", "\x00\x01", "I would rather not.", "{", "}{", "[[ ## ", "<answer>", "null", "[]", "7", "é" * 9_999)
TEXTS = (
    *(
        "two\nlines",
        "a: b",
        "answer: other",
        "Answer: other",
        '{"answer": "other"}',
        "</answer>",
        "```",
        '"',
        "\\",
        "%s {0}",
    ),
    *("# heading", "-", "---", "null", "7", "true", "é ☃ \U0001f600"),
)


JUDGE: Final = Signature(
    "question, count: int -> answer, tags: list[str], score: int, verdict: Literal['yes', 'no']",
    "Judge the question in the kit's own words.",
)
RICH: Final = JUDGE.compiled


class AdapterContract:
    """Subclass it as `TestMine` and give `make`; `reply` says how a model answers that keeps to the form.

    `keeps_texts` False: a text that looks like the adapter's own marks may come back changed, or not at all.
    """

    keeps_texts = True

    def make(self) -> Adapter:
        """The adapter."""
        raise NotImplementedError

    def reply(self, adapter: Any, signature: Any, values: Mapping[str, Any]) -> str:
        """A reply of that form with these outputs, as a good model writes it; here as the adapter writes its demos."""
        return str(adapter.format_assistant_message_content(signature, values))

    def read(self, adapter: Any, signature: Any, text: str) -> dict[str, Any]:
        """What the kernel makes of a reply."""
        own = getattr(adapter, "aparse", None)
        found: dict[str, Any] = asyncio.run(own(signature, text)) if own else adapter.parse(signature, text)
        return found

    # What is sent

    def test_it_says_who_it_is(self) -> None:
        adapter = self.make()
        assert isinstance(adapter.name, str)
        assert adapter.name
        assert type(adapter.version) is int, "a version is a whole number, one more when the words change"

    def test_all_that_is_given_is_asked(self) -> None:
        messages = self.make().format(RICH, [], dict(ASKED))
        text = said(messages)
        for word in ("How far is the moon?", "41", "Judge the question in the kit's own words."):
            assert word in text, f"{word!r} is not in the prompt"
        assert messages[-1]["role"] != "assistant", "nobody is asked: the last turn is the model's own"

    def test_both_forms_of_the_messages_are_the_same(self) -> None:
        adapter = self.make()
        dictionaries = adapter.format(RICH, list(DEMOS), dict(ASKED))
        assert {one["role"] for one in dictionaries} <= ROLES
        rendered = adapter.render(RICH, list(DEMOS), dict(ASKED))
        assert isinstance(rendered, tuple)
        assert rendered == tuple(map(to_message, dictionaries)), "`render` and `format` say different things"

    def test_demos_stand_before_the_question_in_their_order(self) -> None:
        text = said(self.make().format(RICH, list(DEMOS), dict(ASKED)))
        places = [
            text.rfind(word) for word in ("Is it late?", "Not yet.", "Who calls?", "A friend.", "How far is the moon?")
        ]
        assert -1 not in places, "a demo is lost"
        assert places == sorted(places), "demos are not in order, or not before the question"

    def test_a_demo_with_gaps_is_no_error(self) -> None:
        adapter = self.make()
        for demo in ({"question": "Is it late?"}, {"answer": "Not yet."}, {}, {**DEMOS[0], "more": "than asked"}):
            assert "How far is the moon?" in said(adapter.format(RICH, [demo], dict(ASKED))), demo

    def test_equal_questions_are_asked_in_equal_words_and_nothing_given_is_changed(self) -> None:
        demos, inputs = [dict(one) for one in DEMOS], dict(ASKED)
        before = copy.deepcopy((demos, inputs))
        first, again = (self.make().render(RICH, demos, inputs) for _ in range(2))
        assert first == again, "equal prompts differ, so nothing would ever be found in a cache"
        assert (demos, inputs) == before, "what it was given is changed"

    # What is read

    def test_a_reply_in_its_form_is_read_with_its_types(self) -> None:
        adapter = self.make()
        for values in (ANSWER, {**ANSWER, "tags": [], "score": -3, "verdict": "yes"}):
            assert self.read(adapter, RICH, self.reply(adapter, RICH, values)) == dict(values)

    def test_texts_come_back_as_they_were(self) -> None:
        if not self.keeps_texts:
            return
        adapter = self.make()
        inner = self.reply(adapter, RICH, {**ANSWER, "answer": "inside"})
        for text in (*TEXTS, inner):
            values = {**ANSWER, "answer": text.strip()}
            assert self.read(adapter, RICH, self.reply(adapter, RICH, values)) == values, f"the text was {text!r}"

    def test_what_does_not_fit_is_a_parse_error_and_nothing_else(self) -> None:
        adapter = self.make()
        good = self.reply(adapter, RICH, ANSWER)
        for text in (*JUNK, good.replace("7", "seven"), good.replace("no", "perhaps")):
            try:
                found = self.read(adapter, RICH, text)
            except AdapterParseError as error:
                fault = error
            except Exception as error:
                raise AssertionError(
                    f"{text[:40]!r}: {type(error).__name__} instead of an AdapterParseError"
                ) from error
            else:
                raise AssertionError(f"{text[:40]!r} is taken for {found}")
            assert str(fault), f"{text[:40]!r}: an error without words"

    def test_a_reply_cut_anywhere_is_an_error_or_fits(self) -> None:
        adapter = self.make()
        whole = self.reply(adapter, RICH, ANSWER)
        for cut in range(len(whole)):
            with suppress(AdapterParseError):
                assert self.read(adapter, RICH, whole[:cut]).keys() == ANSWER.keys(), f"cut at {cut}"

    def test_a_streams_pieces_are_what_the_whole_reply_is_read_as(self) -> None:
        adapter: Any = self.make()
        if not hasattr(adapter, "parser"):
            return
        signature = Signature("question -> first_part, answer").compiled
        values = {"first_part": "One.\nTwo, and more.", "answer": "It is so."}
        whole = self.reply(adapter, signature, values)
        for size in (1, 2, 3, 7, len(whole)):
            parser = adapter.parser(signature)
            if parser is None:
                return
            pieces = [piece for at in range(0, len(whole), size) for piece in parser.feed(whole[at : at + size])]
            told = dict.fromkeys(values, "")
            for name, text in (*pieces, *parser.end()):
                told[name] += text
            # One that knows no pieces of this form gives none, and each value comes at the reply's end.
            assert told in (values, dict.fromkeys(values, "")), f"in pieces of {size} it gave {told}"

    # In a program

    def test_a_program_asks_and_reads_by_it(self) -> None:
        adapter: Any = self.make()
        asked: list[LMRequest] = []

        class Model:
            async def complete(_self, request: LMRequest) -> LMResponse:  # noqa: N805  the kit's own is in use
                asked.append(request)
                return LMResponse.from_text(self.reply(adapter, RICH, ANSWER))

        async def main() -> Any:
            async with App(adapter=adapter, lm=LM("kit/model", provider=Model(), cache=False, num_retries=0)):
                judge = Predict(JUDGE)
                judge.demos = list(DEMOS)
                return await judge.acall(**ASKED)

        prediction = asyncio.run(main())
        assert {name: prediction[name] for name in ANSWER} == dict(ANSWER)
        assert "How far is the moon?" in asked[0].messages[-1].text

    def test_a_reply_that_does_not_fit_is_asked_for_again_in_its_words(self) -> None:
        adapter: Any = self.make()
        if not hasattr(adapter, "reask"):
            return
        turns = adapter.reask(RICH, "I would rather not.", AdapterParseError("the answer is missing"))
        assert isinstance(turns, tuple)
        assert turns[-1].role == "user"
        assert "I would rather not." in " ".join(turn.text for turn in turns), "the model is not shown what it said"

    def test_threads_share_it_and_signatures_do_not_mix(self) -> None:
        adapter = self.make()
        signatures = [Signature(f"question -> answer, part_{at}: int").compiled for at in range(THREADS)]

        def asks(at: int) -> bool:
            return f"q{at}?" in said(adapter.format(signatures[at], [], {"question": f"q{at}?"}))

        def reads(at: int) -> bool:
            values = {"answer": f"word {at}", f"part_{at}": at}
            return self.read(adapter, signatures[at], self.reply(adapter, signatures[at], values)) == values

        places = [place for place in range(THREADS) for _ in range(10)]
        with ThreadPoolExecutor(THREADS) as pool:
            for step in (asks, reads):
                assert all(pool.map(step, places)), "one signature's words or fields came into another's"


def said(messages: Sequence[Mapping[str, Any]]) -> str:
    """All that stands in messages of DSPy's form."""
    return "\n".join(to_message(dict(message)).text for message in messages)
