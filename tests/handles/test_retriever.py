"""Passages for a query: the onion of an LM without its adapter, Retrieve as DSPy's programs know it, and KNN."""

import asyncio
import sys
from types import SimpleNamespace

import msgspec
import pytest

import dspex
from dspex.core.events import RequestFinished
from dspex.plugin import RetrieverRequest
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import BaseCallback, DummyVectorizer, VirtualClock, simulate

TEXTS = ["Rome is in Italy.", "Paris is in France.", "Bern is in Switzerland."]


class Options(msgspec.Struct):
    index: str = "main"


class Index:
    """A RetrieverProvider over a list; `queries` holds what came, `steps` what happens before it goes well."""

    def __init__(self, options=None, http=None, embedder=None):
        self.options, self.embedder = options, embedder
        self.passages = [dspex.Passage(text, 1.0 / place, str(place)) for place, text in enumerate(TEXTS, 1)]
        self.queries, self.steps, self.seconds, self.started = [], [], 0.0, 0

    async def start(self):
        self.started += 1

    async def retrieve(self, query, k):
        self.queries.append((query, k))
        await asyncio.sleep(self.seconds)
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        return self.passages[:k] if step is None else step


class Growing(Index):
    async def add(self, passages):
        self.passages += passages

    async def delete(self, ids):
        self.passages = [passage for passage in self.passages if passage.id not in ids]

    async def save(self, path):
        raise OSError(28, "No space left on device")


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def aclose(self):
        pass


def run(main, made=None, **settings):
    """Run in virtual time, in an App with the retriever `acme`; what it makes goes into `made`."""

    def factory(*arguments):
        provider = Index(*arguments)
        if made is not None:
            made.append(provider)
        return provider

    spec = dspex.Spec("acme", factory, options=Options)
    plugin = type("Plugin", (), {"dspex_retrievers": staticmethod(dspex.hookimpl(lambda: [spec]))})
    plugins = PluginManager(lambda: [Source("acme", plugin)], environ={})

    async def inside():
        async with dspex.App(clock=VirtualClock(), plugins=plugins, seed=1, **settings):
            return await main()

    return simulate(inside)[0]


# The handle


def test_it_gives_the_best_passages():
    made = []

    async def main():
        retriever = dspex.Retriever("acme", index="other", k=2)
        return await retriever.acall("Italy?"), await retriever.acall("Italy?", k=1)

    two, one = run(main, made)
    assert [passage.text for passage in two] == TEXTS[:2]
    assert (one[0].id, one[0].score) == ("1", 1.0)
    [index] = made
    assert (index.options, index.queries, index.started) == ({"index": "other"}, [("Italy?", 2), ("Italy?", 1)], 1)


def test_the_sync_form_does_the_same():
    assert [passage.text for passage in dspex.Retriever("own", provider=Index(), k=1)("Italy?")] == TEXTS[:1]


def test_an_unknown_retriever_or_option_is_named():
    async def main():
        with pytest.raises(dspex.ConfigurationError, match=r"No retriever 'acm'.*Did you mean 'acme'"):
            await dspex.Retriever("acm").acall("?")
        with pytest.raises(dspex.ConfigurationError, match=r"'indx' is no option of 'acme'. Did you mean 'index'"):
            await dspex.Retriever("acme", indx="x").acall("?")

    run(main)


@pytest.mark.parametrize("k", [0, -1, "3", None], ids=repr)
def test_k_is_one_or_more(k):
    with pytest.raises(ValueError, match="one passage or more"):
        dspex.Retriever("acme", k=k)


def test_a_plugin_is_given_an_embedder():
    made = []

    async def main():
        await dspex.Retriever("acme", embedder=lambda texts: [[float(len(text))] for text in texts]).acall("?")
        [index] = made
        return [list(row) for row in await index.embedder.embed(["a", "bb"])]

    assert run(main, made) == [[1.0], [2.0]]


@pytest.mark.parametrize(("cache", "asked"), [(False, 3), (True, 2)])
def test_results_are_kept_only_where_that_is_asked_for(cache, asked):
    made = []

    async def main():
        retriever = dspex.Retriever("acme", cache=cache)
        found = [await retriever.acall("Italy?") for _ in range(2)]
        await retriever.acall("Italy?", k=1)
        return found

    first, second = run(main, made, cache=Cache())
    assert first == second
    assert len(made[0].queries) == asked


def test_equal_searches_in_flight_are_one_where_results_are_kept():
    index = Index()
    index.seconds = 1.0

    async def main():
        retriever = dspex.Retriever("own", provider=index, cache=True)
        await asyncio.gather(*(retriever.acall("Italy?") for _ in range(100)))

    run(main)
    assert len(index.queries) == 1


def test_a_transient_failure_is_tried_again():
    index = Index()
    index.steps = [dspex.Unavailable("down"), dspex.RateLimited("slow down")]

    async def main():
        return len(await dspex.Retriever("own", provider=index).acall("?"))

    assert run(main) == 3
    assert len(index.queries) == 3


@pytest.mark.parametrize(
    ("step", "kind", "asked"),
    [
        (dspex.RetrieverError("no such index"), dspex.RetrieverError, 1),
        (dspex.AuthError("no"), dspex.RetrieverError, 1),
        (KeyError("odd"), dspex.PluginError, 2),
        (["text"], dspex.RetrieverError, 1),
        ("text", dspex.RetrieverError, 1),
    ],
    ids=["own", "LMError", "foreign", "no passages", "no list"],
)
def test_other_failures_are_typed(step, kind, asked):
    index = Index()
    index.steps = [step] * 9

    async def main():
        with pytest.raises(kind):
            await dspex.Retriever("own", provider=index).acall("?")

    run(main)
    assert len(index.queries) == asked


def test_a_search_has_a_deadline_and_leaves_no_trace_in_budgets():
    index = Index()
    index.seconds = 1e5

    async def main():
        late = pytest.raises(dspex.RetrieverError, match="No reply within 2 s")
        with dspex.budget(calls=1, tokens=1, usd=0.0) as budget, late:
            await dspex.Retriever("own", provider=index, timeout=2.0).acall("?")
        return asyncio.get_running_loop().time(), budget.spent.calls

    seconds, calls = run(main)
    assert seconds == pytest.approx(2.0, rel=0.01)
    assert calls == 0


def test_middleware_may_stand_around_searches():
    class Loud:
        async def __call__(self, request, call_next):
            raise AssertionError("only for LMs")

        async def retrieve(self, request, call_next):
            assert request == RetrieverRequest("own", "italy?", 1)
            return await call_next(msgspec.structs.replace(request, query=request.query.upper()))

    async def none(request, call_next):
        return await call_next(request)

    index = Index()

    async def main():
        await dspex.Retriever("own", provider=index, k=1).acall("italy?")

    run(main, middleware=[Loud(), none])
    assert index.queries == [("ITALY?", 1)]


def test_a_middleware_that_breaks_its_contract_is_named():
    class Broken:
        async def retrieve(self, request, call_next):
            raise KeyError("odd")

    async def main():
        with pytest.raises(dspex.PluginError, match="The middleware Broken raised KeyError"):
            await dspex.Retriever("own", provider=Index()).acall("?")

    run(main, middleware=[Broken()])


def test_callbacks_and_subscribers_hear_of_it():
    class Heard(BaseCallback):
        def __init__(self):
            self.said = []

        def on_retriever_start(self, call_id, instance, inputs):
            self.said.append(inputs)

        def on_retriever_end(self, call_id, outputs, exception):
            self.said.append(len(outputs))

    heard, events = Heard(), []

    async def main():
        dspex.app.app.current_app().bus.subscribe(events.append, "test")
        retriever = dspex.Retriever("own", provider=Index(), callbacks=[heard], cache=True)
        await retriever.acall("Italy?", k=2)
        await retriever.acall("Italy?", k=2)

    run(main, cache=Cache())
    assert heard.said == [{"query": "Italy?", "k": 2}, 2] * 2
    assert [event.cached for event in events if isinstance(event, RequestFinished)] == [False, True]


def test_an_index_may_be_changed_where_the_plugin_lets_it():
    retriever = dspex.Retriever("own", provider=Growing(), k=9)
    retriever.add(["Oslo is in Norway.", dspex.Passage("Kyiv is in Ukraine.", id="9")])
    retriever.delete(["1", "2"])
    assert [passage.text for passage in retriever("?")] == [TEXTS[2], "Oslo is in Norway.", "Kyiv is in Ukraine."]
    with pytest.raises(dspex.RetrieverError, match="failed at `save`: OSError"):
        retriever.save("index")


@pytest.mark.parametrize(("what", "argument"), [("add", ["x"]), ("delete", ["1"]), ("save", "x")])
def test_where_it_does_not_the_error_says_so(what, argument):
    with pytest.raises(dspex.RetrieverError, match=f"'own' offers no `{what}`"):
        getattr(dspex.Retriever("own", provider=Index()), what)(argument)


# Retrieve


def function(query, k):
    return TEXTS[:k]


async def async_function(query, k):
    return TEXTS[:k]


class Old:
    """An rm as DSPy's programs write one."""

    def __call__(self, query, k=None):
        return [SimpleNamespace(long_text=text) for text in TEXTS[:k]]


@pytest.mark.parametrize(
    "rm",
    [
        dspex.Retriever("own", provider=Index()),
        function,
        async_function,
        Old(),
        lambda query, k: [{"long_text": text} for text in TEXTS[:k]],
        lambda query, k: dspex.Prediction(passages=TEXTS[:k], indices=list(range(k))),
        lambda query, k: (text for text in TEXTS[:k]),
    ],
    ids=["Retriever", "function", "async", "long_text", "dictionaries", "Prediction", "generator"],
)
def test_retrieve_asks_the_rm_of_the_settings(rm):
    dspex.configure(rm=rm)
    assert dspex.Retrieve(k=2)("Italy?").passages == TEXTS[:2]
    assert dspex.Retrieve()("Italy?", k=1).passages == TEXTS[:1]
    assert asyncio.run(dspex.Retrieve().acall("Italy?")).passages == TEXTS


def test_one_passage_alone_is_a_list_of_one():
    with dspex.context(rm=lambda query, k: TEXTS[0]):
        assert dspex.Retrieve()("Italy?").passages == TEXTS[:1]


def test_retrieve_without_an_rm_says_what_to_do():
    with pytest.raises(dspex.ConfigurationError, match=r"configure\(rm="):
        dspex.Retrieve()("Italy?")


def test_what_is_no_passage_is_told():
    with dspex.context(rm=lambda query, k: [4]), pytest.raises(dspex.RetrieverError, match="4, which is no passage"):
        dspex.Retrieve()("Italy?")


# KNN

CAPITALS = [
    dspex.Example(question=question, answer=answer).with_inputs("question")
    for question, answer in [
        ("What is the capital of Italy?", "Rome"),
        ("How many legs has a spider?", "8"),
        ("What is the capital of France?", "Paris"),
        ("How many legs has an ant?", "6"),
    ]
]


@pytest.mark.parametrize("numpy", [False, True])
@pytest.mark.parametrize(
    "vectorizer", [DummyVectorizer(), dspex.Embedder(DummyVectorizer())], ids=["DummyVectorizer", "Embedder"]
)
def test_knn_gives_the_nearest_examples(monkeypatch, vectorizer, numpy):
    if numpy:
        pytest.importorskip("numpy")
    else:
        monkeypatch.setitem(sys.modules, "numpy", None)
    knn = dspex.KNN(2, CAPITALS, vectorizer)
    assert {example.answer for example in knn(question="What is the capital of Spain?")} == {"Rome", "Paris"}
    assert knn(question="How many legs has a spider?")[0].answer == "8"
    assert {example.answer for example in asyncio.run(knn.acall(question="How many legs has a crab?"))} == {"8", "6"}


def test_knn_makes_the_vectors_of_its_trainset_once():
    asked = []

    def vectorizer(texts):
        asked.append(texts)
        return [[1.0]] * len(texts)

    async def main():
        knn = dspex.KNN(2, CAPITALS, vectorizer)
        return await asyncio.gather(*(knn.acall(question="?", hint="!") for _ in range(5)))

    nearest = asyncio.run(main())
    assert nearest == [CAPITALS[:2]] * 5  # equally near: in their order
    assert max(asked, key=len) == [f"question: {example.question}" for example in CAPITALS]
    assert sorted(map(len, asked)) == [1] * 5 + [4]
    assert ["question: ? | hint: !"] in asked


def test_knn_takes_an_embedder_by_its_name():
    with pytest.raises(dspex.ConfigurationError, match="No embedder 'nobody'"):
        dspex.KNN(1, CAPITALS, "nobody/nothing")(question="?")
    for name in ("nothing", ""):
        with pytest.raises(dspex.ConfigurationError, match=r"name the provider too, as in Embedder\('openai/\w+"):
            dspex.KNN(1, CAPITALS, name)


def test_knn_says_what_is_no_vectorizer_and_no_input():
    with pytest.raises(dspex.ConfigurationError, match="not a int"):
        dspex.KNN(1, CAPITALS, 3)
    with pytest.raises(dspex.InputError, match="None of query is an input of the examples, which have: question"):
        dspex.KNN(1, CAPITALS, DummyVectorizer())(query="?")


@pytest.mark.parametrize(
    ("k", "trainset", "message"),
    [(0, CAPITALS, "k >= 1"), (1, [], "at least one example"), (1, [dspex.Example(a="b")], "with_inputs")],
)
def test_knn_checks_its_arguments_first(k, trainset, message):
    with pytest.raises(dspex.DspexError, match=message):
        dspex.KNN(k, trainset, DummyVectorizer())
