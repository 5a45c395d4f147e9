"""Predict's two seams: which demos a call shows, and how the choices of an output are weighed."""

import asyncio
from enum import Enum
from math import log
from typing import Any, Literal

import pytest

import dspex
from dspex.core.endpoint import Capabilities
from dspex.core.errors import BadRequest, ConfigurationError, ProtocolError, Unavailable
from dspex.core.messages import Choice, LMRequest, LMResponse
from dspex.program.adapters.two_step import TwoStepAdapter
from dspex.testing import DummyLM

CAN = Capabilities(chat=True, logprobs=True)


class Weighing:
    """Gives one reply, in tokens that are (text, probability, other tokens there with theirs)."""

    def __init__(self, *tokens: Any, capabilities: Capabilities = CAN, with_bytes: bool = True) -> None:
        self.capabilities = capabilities
        self.tokens = tokens
        self.with_bytes = with_bytes
        self.requests: list[LMRequest] = []

    async def complete(self, request: LMRequest) -> LMResponse:
        self.requests.append(request)
        rows = [token if isinstance(token, tuple) else (token, 1.0, {}) for token in self.tokens]
        text = "".join(token for token, _, _ in rows)
        content = [
            self._row(token, chance) | {"top_logprobs": [self._row(*one) for one in {token: chance, **others}.items()]}
            for token, chance, others in rows
        ]
        logprobs = {"content": content} if "logprobs" in request.params else None
        return LMResponse((Choice(text, logprobs=logprobs),))

    def _row(self, token: str, chance: float) -> dict[str, Any]:
        return {"token": token, "logprob": log(chance), "bytes": list(token.encode()) if self.with_bytes else None}


def lm_of(provider: Any) -> dspex.LM:
    return dspex.LM("weighing", provider=provider, cache=False, num_retries=0)


class Tone(Enum):
    GOOD = "good"
    GOODISH = "goodish"
    BAD = "bad"


class Labelled(dspex.Signature):
    """How does it sound?"""

    text: str = dspex.InputField()
    note: str = dspex.OutputField()
    tone: Tone = dspex.OutputField()


START = ("[[ ## note ## ]]\n", "a good one", "\n\n[[ ## tone ## ]]", "\n")
END = ("\n\n[[ ## completed ## ]]",)


def asked(*tokens: Any, bias: Any, signature: Any = Labelled, **options: Any) -> Any:
    predict = dspex.Predict(signature)
    predict.choice_bias = bias
    predict.set_lm(lm_of(Weighing(*tokens, **options)))
    return predict(text="Fine.")


@pytest.mark.parametrize(
    ("bias", "tone"),
    [
        ({Tone.BAD: 0.0}, Tone.GOOD),
        ({Tone.BAD: 0.5}, Tone.GOOD),
        ({"bad": 1.0}, Tone.BAD),
        ({"good": -1.0}, Tone.BAD),
        ({"bad": 1.0, "good": 1.0}, Tone.GOOD),
        ({"tone": {"bad": 1.0}}, Tone.BAD),
    ],
)
@pytest.mark.parametrize("with_bytes", [True, False])
def test_the_likeliest_label_after_the_bias_is_taken(bias, tone, with_bytes):
    prediction = asked(*START, ("good", 0.6, {"bad": 0.3, "worse": 0.1}), *END, bias=bias, with_bytes=with_bytes)
    assert (prediction.tone, prediction.note) == (tone, "a good one")


def test_labels_that_begin_alike_part_at_a_later_token():
    tokens = (*START, ("good", 0.9, {"bad": 0.1}), ("\n\n", 0.7, {"ish": 0.3}), "[[ ## completed ## ]]")
    assert asked(*tokens, bias={"goodish": 1.0}).tone is Tone.GOODISH
    assert asked(*tokens, bias={"goodish": 0.5}).tone is Tone.GOOD
    # 0.9 * 0.7 of good is the measure of bad, too
    assert asked(*tokens, bias={"bad": log(0.63 / 0.1) + 0.01}).tone is Tone.BAD
    assert asked(*tokens, bias={"bad": log(0.63 / 0.1) - 0.01}).tone is Tone.GOOD


def test_tokens_of_one_label_count_together():
    tokens = (*START, ("good", 0.4, {"ba": 0.25, "bad": 0.25, " bad": 0.05}), *END)
    assert asked(*tokens, bias={"bad": 0.0}).tone is Tone.BAD


def test_a_label_that_was_not_weighed_is_not_taken():
    tokens = (*START, ("good", 0.9, {"so": 0.1}), *END)
    assert asked(*tokens, bias={"bad": 99.0}).tone is Tone.GOOD


@pytest.mark.parametrize(
    ("adapter", "tokens"),
    [
        ("json", ('{"note": "good', ' é", "tone":', (' "good', 0.6, {' "bad': 0.4}), '"}')),
        ("json", ('{"note": "", "tone": "', ("good", 0.6, {"bad": 0.4}), '"}')),
        ("plain", ("a good one\n", "Tone:", (" good", 0.6, {" bad": 0.4}), "\n")),
    ],
)
def test_every_form_of_a_reply_has_its_label_found(adapter, tokens):
    with dspex.context(adapter=adapter):
        assert asked(*tokens, bias={"bad": 1.0}).tone is Tone.BAD


@pytest.mark.parametrize(("kind", "own", "other"), [(bool, "True", "False"), (Literal["yes", "no"], "Yes", "No")])
def test_bools_and_literals_in_another_case_are_weighed(kind, own, other):
    signature = dspex.make_signature({"text": dspex.InputField(), "tone": (kind, dspex.OutputField())})
    tokens = ("[[ ## tone ## ]]\n", (own, 0.6, {other: 0.4}), *END)
    assert asked(*tokens, bias={other.lower(): 1.0}, signature=signature).tone in (False, "no")


@pytest.mark.parametrize(("shown", "asked_for"), [(None, 20), (100, 100)])
def test_as_many_log_probabilities_are_asked_for_as_the_model_shows(shown, asked_for):
    provider = Weighing(
        *START, ("good", 0.6, {"bad": 0.3}), *END, capabilities=Capabilities(chat=True, top_logprobs=shown)
    )
    predict = dspex.Predict(Labelled)
    predict.choice_bias = {"bad": 0.5}
    predict.set_lm(lm_of(provider))
    predict(text="Fine.")
    assert provider.requests[0].params["top_logprobs"] == asked_for


def test_log_probabilities_are_asked_for_only_with_a_bias():
    provider = Weighing(*START, "good", *END)
    predict = dspex.Predict(Labelled)
    predict.set_lm(lm_of(provider))
    predict(text="a")
    predict.choice_bias = {"bad": 0.1}
    predict(text="a")
    assert [request.params.get("logprobs") for request in provider.requests] == [None, True]


def test_a_model_without_log_probabilities_is_an_error_that_names_the_capability():
    provider = Weighing(*START, "good", *END, capabilities=Capabilities(chat=True, logprobs=False))
    predict = dspex.Predict(Labelled)
    predict.choice_bias = {"bad": 0.1}
    with pytest.raises(BadRequest, match="capability: logprobs"):
        predict(text="a", lm=lm_of(provider))
    assert provider.requests == []
    with pytest.raises(BadRequest, match="capability: logprobs"):
        predict(text="a", lm=DummyLM([{"note": "a", "tone": "good"}]))


def test_log_probabilities_of_another_text_are_an_error():
    class Other(Weighing):
        async def complete(self, request):
            reply = await super().complete(request)
            return LMResponse((Choice(f"{reply.text} ", logprobs=reply.choices[0].logprobs),))

    predict = dspex.Predict(Labelled)
    predict.choice_bias = {"bad": 0.1}
    with pytest.raises(ProtocolError, match="not those of the reply"):
        predict(text="a", lm=lm_of(Other(*START, "good", *END)))


@pytest.mark.parametrize(
    ("signature", "bias", "said"),
    [
        (Labelled, {"worse": 1.0}, "'worse' is none of good, goodish, bad"),
        (Labelled, {"tome": {"bad": 1.0}}, "'tome' is no output with choices. Did you mean 'tone'"),
        (Labelled, {"bad": "much"}, "needs a number"),
        (Labelled, ["bad"], "is a mapping"),
        ("text -> answer", {"bad": 1.0}, "outputs with choices: none"),
        ("text -> a: bool, b: bool", {"true": 1.0}, "outputs with choices: a, b"),
    ],
)
def test_a_bias_that_fits_no_choice_is_refused(signature, bias, said):
    with pytest.raises(ConfigurationError, match=said):
        asked("x", bias=bias, signature=signature)


def test_a_bias_needs_the_model_s_own_reply():
    with dspex.context(adapter=TwoStepAdapter(DummyLM([]))), pytest.raises(ConfigurationError, match="own reply"):
        asked("x", bias={"bad": 1.0})


def test_a_bias_is_saved_and_reset():
    predict = dspex.Predict(Labelled)
    assert "choice_bias" not in predict.dump_state()
    predict.choice_bias = {Tone.BAD: 0.5}
    state = predict.dump_state()
    assert state["choice_bias"] == {"tone": {"bad": 0.5}}
    loaded = dspex.Predict(Labelled)
    loaded.prepare_state(state)()
    assert loaded.dump_state() == state
    assert loaded.reset_copy().choice_bias is None
    with pytest.raises(ConfigurationError, match="'worse' is none of"):
        loaded.prepare_state({**state, "choice_bias": {"tone": {"worse": 1.0}}})


# Demos


def shown(provider: Weighing) -> list[str]:
    return [message.text for message in provider.requests[-1].messages[1:-1] if message.role == "user"]


DEMOS = [{"text": text, "note": "n", "tone": "bad"} for text in ("first", "second", "third")]


async def slowly(inputs, demos):
    await asyncio.sleep(0)
    return [dspex.Example(demos[-1])]


@pytest.mark.parametrize(
    ("selector", "texts"),
    [
        (lambda inputs, demos: demos[:1], ["first"]),
        (lambda inputs, demos: (demo for demo in demos if demo["text"] != inputs["text"]), ["second", "third"]),
        (slowly, ["third"]),
        (lambda inputs, demos: [], []),
    ],
)
async def test_a_selector_chooses_the_demos_of_a_call(selector, texts):
    provider = Weighing(*START, "good", *END)
    predict = dspex.Predict(Labelled)
    predict.demos, predict.demo_selector = DEMOS, selector
    await predict.acall(text="first", lm=lm_of(provider))
    found = shown(provider)
    assert len(found) == len(texts)
    assert all(text in message for text, message in zip(texts, found, strict=True))


def test_an_async_selector_serves_a_sync_call():
    predict = dspex.Predict(Labelled)
    predict.demos, predict.demo_selector = DEMOS, slowly
    provider = Weighing(*START, "good", *END)
    predict(text="a", lm=lm_of(provider))
    assert "third" in shown(provider)[0]


@pytest.mark.parametrize(
    ("selector", "said"),
    [
        (lambda inputs, demos: demos[9], "failed: IndexError"),
        (lambda inputs, demos: None, "failed: TypeError"),
        (lambda inputs, demos: ["first"], "gave 'first'; it has to give Examples or dictionaries"),
    ],
)
def test_a_selector_that_fails_is_named(selector, said):
    provider = Weighing(*START, "good", *END)
    predict = dspex.Predict(Labelled)
    predict.demos, predict.demo_selector = DEMOS, selector
    with pytest.raises(ConfigurationError, match=f"demo_selector .*{said}"):
        predict(text="a", lm=lm_of(provider))
    assert provider.requests == []


def test_a_selector_s_own_dspex_error_passes():
    def unreachable(inputs, demos):
        raise Unavailable("no embedder")

    predict = dspex.Predict(Labelled)
    predict.demo_selector = unreachable
    with pytest.raises(Unavailable, match="no embedder"):
        predict(text="a", lm=lm_of(Weighing("x")))
