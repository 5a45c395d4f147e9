"""The kit for adapters: the kernel's own pass all of it, and each kind of bad one fails the test that is about it."""

import itertools

import pytest

import dspex
from dspex.program.adapters.json import JSONAdapter
from dspex.testing.adapter_contract import AdapterContract

TESTS = [name for name in vars(AdapterContract) if name.startswith("test_")]


class Echo:
    """The second model of a two-step adapter: it repeats the text that it is to read, which has chat's marks already."""

    capabilities = dspex.plugin.Capabilities(chat=True)

    async def complete(self, request):
        text = request.messages[-1].text.partition("\n\nReply with")[0].partition("## ]]\n")[2]
        return dspex.plugin.LMResponse.from_text(text.replace("\\[[", "[["))


def two_step():
    return dspex.TwoStepAdapter(dspex.LM("kit/echo", provider=Echo(), cache=False, num_retries=0))


def kit(make):
    class Kit(AdapterContract):
        def make(self):
            return make()

    return Kit()


OWN = {"chat": dspex.ChatAdapter, "json": dspex.JSONAdapter, "xml": dspex.XMLAdapter, "plain": dspex.PlainAdapter}


@pytest.mark.parametrize("name", TESTS)
@pytest.mark.parametrize("form", OWN)
def test_the_kernels_own_pass(form, name):
    getattr(kit(OWN[form]), name)()


class Nameless(JSONAdapter):
    version = "two"


class LosesInputs(JSONAdapter):
    def format(self, signature, demos, inputs):
        return super().format(signature, demos, {name: inputs[name] for name in list(inputs)[:1]})


class SaysTwoThings(JSONAdapter):
    def render(self, signature, demos, inputs):
        return super().render(signature, [], inputs)


class TurnsDemosRound(JSONAdapter):
    def format(self, signature, demos, inputs):
        return super().format(signature, list(reversed(demos)), inputs)


class WantsWholeDemos(JSONAdapter):
    def format(self, signature, demos, inputs):
        assert all(demo["question"] and demo["answer"] for demo in demos)
        return super().format(signature, demos, inputs)


class Counts(JSONAdapter):
    numbers = itertools.count()

    def format(self, signature, demos, inputs):
        head, *rest = super().format(signature, demos, inputs)
        return [{**head, "content": f"{head['content']} #{next(self.numbers)}"}, *rest]


class ChangesInputs(JSONAdapter):
    def format(self, signature, demos, inputs):
        inputs.setdefault("more", 1)
        return super().format(signature, demos, inputs)


class ForgetsTypes(JSONAdapter):
    def parse(self, signature, completion):
        return {name: str(value) for name, value in super().parse(signature, completion).items()}


class Trims(JSONAdapter):
    def parse(self, signature, completion):
        found = super().parse(signature, completion)
        return {name: value.split("\n")[0] if isinstance(value, str) else value for name, value in found.items()}


class Stumbles(JSONAdapter):
    def parse(self, signature, completion):
        return {field.name: __import__("json").loads(completion)[field.name] for field in signature.outputs}


class TakesAnything(JSONAdapter):
    def parse(self, signature, completion):
        try:
            return super().parse(signature, completion)
        except dspex.AdapterParseError:
            return {field.name: None for field in signature.outputs}


class TakesHalves(JSONAdapter):
    def parse(self, signature, completion):
        try:
            return super().parse(signature, completion)
        except dspex.AdapterParseError:
            if completion.startswith('{"answer":"T'):
                return {"answer": "T"}
            raise


class StreamsOtherwise(dspex.ChatAdapter):
    def parser(self, signature):
        whole = super().parser(signature)

        class Parser:
            def feed(self, text):
                return [(name, piece.upper()) for name, piece in whole.feed(text)]

            def end(self):
                return whole.end()

        return Parser()


class HidesTheReply(JSONAdapter):
    def reask(self, signature, completion, error):
        return super().reask(signature, "", error)


class KeepsTheLastSignature(JSONAdapter):
    last = None

    def format(self, signature, demos, inputs):
        self.last = signature
        return super().format(signature, demos, inputs)

    def parse(self, signature, completion):
        return super().parse(self.last or signature, completion)


ONE = KeepsTheLastSignature()


@pytest.mark.parametrize(
    ("made", "about"),
    [
        (Nameless, "who_it_is"),
        (LosesInputs, "all_that_is_given"),
        (SaysTwoThings, "both_forms"),
        (TurnsDemosRound, "in_their_order"),
        (WantsWholeDemos, "gaps"),
        (Counts, "equal_words"),
        (ChangesInputs, "nothing_given_is_changed"),
        (ForgetsTypes, "with_its_types"),
        (Trims, "texts_come_back"),
        (Stumbles, "nothing_else"),
        (TakesAnything, "nothing_else"),
        (TakesHalves, "cut_anywhere"),
        (StreamsOtherwise, "streams_pieces"),
        (ForgetsTypes, "a_program_asks"),
        (HidesTheReply, "asked_for_again"),
        (lambda: ONE, "signatures_do_not_mix"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_a_bad_adapter_fails_the_test_that_is_about_it(made, about):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, KeyError, dspex.AdapterParseError)):
        getattr(kit(made), name)()


class TwoStepKit(AdapterContract):
    keeps_texts = False  # a second model reads them

    def make(self):
        return two_step()

    def reply(self, adapter, signature, values):
        return dspex.ChatAdapter().format_assistant_message_content(signature, values)


@pytest.mark.parametrize("name", TESTS)
def test_one_that_asks_a_second_model_is_read_by_it(name):
    getattr(TwoStepKit(), name)()
