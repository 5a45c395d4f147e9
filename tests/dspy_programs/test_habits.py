"""Habits of programs written for DSPy that go on working."""

import pickle
import threading
from pathlib import Path

import pytest

import dspex
from dspex.testing import DummyLM

pydantic = pytest.importorskip("pydantic")


class Shelf(dspex.Module):
    """Holds parts in all kinds of places, and a lock, which has no copy."""

    def __init__(self):
        self.lock = threading.Lock()
        self.byname = {"first": dspex.Predict("question -> answer")}
        self.listed = [dspex.Predict("question -> answer"), (dspex.Module(),)]


def test_a_copy_shares_what_a_part_cannot_copy():
    outer = dspex.Module()
    outer.shelf = Shelf()
    twin = outer.deepcopy()
    assert twin.shelf.lock is outer.shelf.lock
    assert twin.shelf.byname["first"] is not outer.shelf.byname["first"]


def test_sub_modules_are_named_by_their_place():
    names = [name for name, _ in Shelf().named_sub_modules()]
    assert names == ["self", "self.byname[first]", "self.listed[0]", "self.listed[1][0]"]
    assert [name for name, _ in Shelf().named_sub_modules(dspex.Predict)] == names[1:3]


@pytest.mark.parametrize("name", ["self", "cls", "args", "kwargs", "model", "n", "key"])
def test_a_field_may_have_any_name_that_is_not_reserved(name):
    dspex.configure(lm=DummyLM([{"answer": "yes"}]))
    predict = dspex.Predict({name: dspex.InputField(), "answer": dspex.OutputField()})
    assert predict(**{name: "?"}).answer == "yes"


class Site(pydantic.BaseModel):
    url: pydantic.HttpUrl
    file: Path


def test_demos_with_pydantics_own_types_are_saved(tmp_path):
    program = dspex.Predict("site: Site, file -> answer")
    program.demos = [{"site": Site(url="https://example.com", file="a/b"), "file": Path("c"), "answer": "yes"}]
    program.save(tmp_path / "p.json")
    loaded = dspex.Predict("site: Site, file -> answer").load(tmp_path / "p.json")
    assert loaded.demos == [{"site": {"url": "https://example.com/", "file": "a/b"}, "file": "c", "answer": "yes"}]


class Basket(dspex.Signature):
    """Fill it."""

    shop: str = dspex.InputField()
    fruit: list[str] = dspex.OutputField(default=[])


def test_a_default_is_no_shared_list():
    dspex.configure(lm=DummyLM([{"x": ""}] * 2, adapter=dspex.JSONAdapter()), adapter=dspex.JSONAdapter())
    dspex.Predict(Basket)(shop="A").fruit.append("pear")
    assert dspex.Predict(Basket)(shop="B").fruit == []


def test_what_a_signature_is_made_of_can_be_pickled():
    compiled = dspex.Signature(
        "question: str | None -> scores: list[float], pick: Literal['a', 'b']", "Think."
    ).compiled
    twin = pickle.loads(pickle.dumps(compiled))
    assert (twin.key, twin.instructions) == (compiled.key, "Think.")
    assert twin.fields["scores"].decode("[1.5]") == [1.5]
    bound = dspex.OutputField(desc="d", ge=1).bound("n", int)
    assert pickle.loads(pickle.dumps(bound)).ready().constraints == ">= 1"


class Listing(dspex.ChatAdapter):
    """Reads a signature as DSPy's adapters do."""

    def format_field_description(self, signature):
        fields = {**signature.input_fields, **signature.output_fields}
        return "; ".join(f"{name} {field.json_schema_extra['prefix']}" for name, field in fields.items())

    def format_user_message_content(self, signature, inputs, prefix="", suffix="", main_request=False):
        return prefix + ", ".join(f"{name}={inputs[name]}" for name in signature.input_fields) + suffix


def test_an_adapter_may_read_a_signature_as_in_dspy():
    lm = DummyLM([{"answer": "yes"}])
    dspex.configure(lm=lm, adapter=Listing())
    assert dspex.Predict("question -> answer")(question="why?").answer == "yes"
    system, user = lm.history[-1]["messages"]
    assert system["content"].startswith("question Question:; answer Answer:")
    assert user["content"] == "question=why?"


@pytest.mark.parametrize("lm", ["openai/gpt-4o-mini", lambda prompt: ["text"]])
def test_what_is_no_lm_is_named(lm):
    with dspex.context(lm=lm), pytest.raises(ValueError, match=r"An LM is a dspex.LM"):
        dspex.Predict("question -> answer")(question="?")


class Bare(dspex.Adapter):
    """Writes no more than a form needs, and calls no `__init__`."""

    def __init__(self, mark):
        self.mark = mark

    def format(self, signature, demos, inputs):
        asked = [self.mark, *(f"{name}: {inputs[name]}" for name in signature.input_fields)]
        return [{"role": "user", "content": "\n".join(asked)}]

    def parse(self, signature, completion):
        return dict.fromkeys(signature.output_fields, completion.rpartition("\n")[2])


def test_an_own_adapter_needs_format_and_parse_only():
    lm = DummyLM([{"answer": "yes"}])
    dspex.configure(lm=lm, adapter=Bare("?"))
    assert dspex.Predict("question, why -> answer")(question="a", why="b").answer == "yes"
    assert lm.history[-1]["messages"] == [{"role": "user", "content": "?\nquestion: a\nwhy: b"}]


@pytest.mark.parametrize("lacking", ["format", "parse"])
def test_an_adapter_without_one_of_them_says_so(lacking):
    written = {name: getattr(Bare, name) for name in {"format", "parse"} - {lacking}}
    own = type("Half", (dspex.Adapter,), {**written, "mark": ""})()
    dspex.configure(lm=DummyLM([{"answer": "yes"}]), adapter=own)
    with pytest.raises(NotImplementedError, match=f"Half has no `{lacking}`"):
        dspex.Predict("question -> answer")(question="?")


FORMS = [dspex.ChatAdapter, dspex.JSONAdapter, dspex.XMLAdapter]


@pytest.mark.parametrize("form", FORMS)
async def test_an_adapter_is_called_by_itself(form):
    lm = DummyLM([{"answer": "4"}, {"answer": "5"}, {"answer": "6"}], adapter=form())
    arguments = lm, {"temperature": 0.5}, dspex.Signature("question -> answer: int"), [], {"question": "2+2?"}
    assert form()(*arguments) == [{"answer": 4}]
    assert await form().acall(*arguments) == [{"answer": 5}]
    assert isinstance(form(), dspex.Adapter)
    assert lm.history[-1]["kwargs"]["temperature"] == 0.5
    with pytest.raises(dspex.InputError, match="'question' is missing"):
        form()(*arguments[:-1], {})


def counted(base, name):
    """A subclass that overrides how the model is called, and counts that it was."""
    calls = []

    class Sync(base):
        def __call__(self, lm, lm_kwargs, signature, demos, inputs):
            calls.append((lm_kwargs, list(signature.output_fields), inputs))
            return super().__call__(lm, {**lm_kwargs, "max_tokens": 7}, signature, demos, inputs)

    class Async(base):
        async def acall(self, lm, lm_kwargs, signature, demos, inputs):
            calls.append((lm_kwargs, list(signature.output_fields), inputs))
            return await super().acall(lm, {**lm_kwargs, "max_tokens": 7}, signature, demos, inputs)

    return {"__call__": Sync, "acall": Async}[name](), calls


@pytest.mark.parametrize("name", ["__call__", "acall"])
@pytest.mark.parametrize("form", FORMS)
async def test_an_adapter_may_override_how_the_model_is_called(form, name):
    adapter, calls = counted(form, name)
    lm = DummyLM([{"answer": "yes"}] * 2, adapter=form())
    dspex.configure(lm=lm, adapter=adapter)
    predict = dspex.Predict("question -> answer", temperature=0.5)
    assert predict(question="?").answer == (await predict.acall(question="?")).answer == "yes"
    assert calls == [({"temperature": 0.5}, ["answer"], {"question": "?"})] * 2
    assert lm.history[-1]["kwargs"]["max_tokens"] == 7


class Bounded(dspex.Signature):
    """Sort it."""

    text: str = dspex.InputField(min_length=3)
    kinds: dict[str, int] = dspex.InputField()
    answer: str = dspex.OutputField()


MISFITS = [{"text": "ab", "kinds": {}}, {"text": "abc", "kinds": {"a": "1"}}, {"text": "abc", "kinds": "none"}]


@pytest.mark.parametrize("given", MISFITS)
def test_a_value_of_another_type_is_a_warning_or_an_error_by_setting(given, recwarn):
    dspex.configure(lm=DummyLM([{"answer": "yes"}] * 2), warn_on_type_mismatch=False)
    dspex.Predict(Bounded)(**given)
    assert not recwarn.list
    dspex.configure(warn_on_type_mismatch=True)
    with pytest.warns(RuntimeWarning, match="Inputs of `text, kinds -> answer`: "):
        dspex.Predict(Bounded)(**given)
    dspex.configure(warn_on_type_mismatch="error")
    with pytest.raises(dspex.InputError, match="Expected"):
        dspex.Predict(Bounded)(**given)
    assert len(dspex.settings.lm.history) == 2


@pytest.mark.parametrize("value", ["why?", 3, 1.5, True, ["a", "b"], ()])
def test_text_takes_what_has_one_form_as_text(value, recwarn):
    dspex.configure(lm=DummyLM([{"answer": "yes"}]))
    assert dspex.Predict("question -> answer")(question=value).answer == "yes"
    assert not recwarn.list


@pytest.mark.parametrize("form", FORMS)
def test_an_error_names_the_adapter_that_was_asked(form):
    signature = dspex.Signature("question -> answer")
    with pytest.raises(dspex.AdapterParseError) as caught:
        form().parse(signature, "{'output': 'x'}")
    error = caught.value
    assert (error.adapter_name, error.lm_response, error.parsed_result) == (form.__name__, "{'output': 'x'}", {})
    assert error.signature is signature


class Started:
    """Hears what modules are called with."""

    def __init__(self):
        self.inputs = []

    def on_module_start(self, call_id, instance, inputs):
        self.inputs.append(inputs)


@pytest.mark.parametrize("args", [(1, 2), (1,), ()])
async def test_a_callback_is_told_inputs_by_name(args):
    class Sum(dspex.Module):
        def forward(self, x, y=0, *more, **rest):
            return x + y + sum(rest.values())

    heard, given = Started(), dict(zip(("x", "y"), args, strict=False))
    named = {name: value for name, value in {"x": 1, "y": 2, "z": 3}.items() if name not in given}
    program = Sum(callbacks=[heard])
    assert program(*args, **named) == await program.acall(*args, **named) == 6
    assert heard.inputs == [{"x": 1, "y": 2, "z": 3}] * 2


def test_a_callback_is_told_what_does_not_fit_too():
    class One(dspex.Module):
        def forward(self, x):
            return x

    heard = Started()
    with pytest.raises(TypeError):
        One(callbacks=[heard])(1, 2)
    assert heard.inputs == [{"args": (1, 2)}]


def test_an_own_adapters_error_needs_no_message():
    class Strict(Bare):
        def parse(self, signature, completion):
            raise dspex.AdapterParseError(adapter_name="Strict", signature=signature, lm_response=completion)

    dspex.configure(lm=DummyLM([{"answer": "yes"}]), adapter=Strict(""))
    with pytest.raises(dspex.AdapterParseError, match=r"(?s)Strict cannot .*## answer.* give: answer\."):
        dspex.Predict("question -> answer")(question="?")
    assert len(dspex.settings.lm.history) == 1


def test_an_examples_fields_are_lists():
    example = dspex.Example(question="why?", answer="so", dspy_uuid="x")
    assert (example.keys()[0], example.values()[-1], example.items()[0]) == ("question", "so", ("question", "why?"))
    assert example.keys(include_dspy=True)[-1] == "dspy_uuid"
    assert {**dspex.Prediction(score=1.0)} == {"score": 1.0}


def test_a_predictor_has_what_programs_read_of_it():
    one, other = dspex.Predict("a -> b"), dspex.Predict("a -> b")
    assert (one.traces, one.train, one.demos, one.config) == ([], [], [], {})
    assert int(one.stage, 16)
    assert one.stage == one.stage != other.stage


class OwnLM(dspex.BaseLM):
    def forward(self, prompt=None, messages=None, **kwargs):
        return "text"


@pytest.mark.parametrize("lm", [dspex.LM("openai/gpt-4o"), DummyLM([]), OwnLM("own")], ids=["LM", "DummyLM", "own"])
def test_any_lm_is_a_base_lm(lm):
    assert isinstance(lm, dspex.BaseLM)
    assert issubclass(type(lm), dspex.BaseLM)
    assert isinstance(lm, OwnLM) is (type(lm) is OwnLM)
    assert not isinstance("openai/gpt-4o", dspex.BaseLM)


class Weighed(dspex.Signature):
    """Weigh it."""

    question: str = dspex.InputField()
    answer: str = dspex.OutputField()
    reasoning: list[str] = dspex.OutputField(desc="three steps")


def test_a_reasoning_that_a_signature_has_itself_is_the_one_that_is_asked_for():
    dspex.configure(lm=DummyLM([{"reasoning": ["a", "b"], "answer": "yes"}]))
    think = dspex.ChainOfThought(Weighed)
    assert list(think.predict.signature.output_fields) == ["reasoning", "answer"]
    assert think.predict.signature.fields["reasoning"].desc == "three steps"
    assert think(question="?").reasoning == ["a", "b"]
    with pytest.raises(dspex.SignatureError, match="reasoning"):
        dspex.ChainOfThought("reasoning -> answer")
