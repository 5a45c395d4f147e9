"""What holds of every module: both forms, failures, cancelling, streams, files, optimizers."""

import asyncio
from types import SimpleNamespace

import msgspec
import pytest

import dspex
from dspex.app.app import default_app
from dspex.core.candidate import Candidate
from dspex.engine.artifact import Programs, extracted
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.program.fingerprint import structure_of
from dspex.streaming import FieldDelta, Finished, StreamListener, StreamResponse, ToolFinished, ToolStarted
from dspex.testing import reset

ANSWER = {"reasoning": "r", "answer": "4"}
OTHER = {"reasoning": "r", "answer": "44"}
ADVICE = {"discussion": "d", "advice": {"predict": "Say more.", "react": "Say more."}}
ATTEMPTS = [{"reasoning": f"r{number}", "answer": str(number)} for number in range(3)]


def step(tool, **args):
    return {"next_thought": "t", "next_tool_name": tool, "next_tool_args": args}


def search(query: str) -> str:
    """Finds pages."""
    return f"pages on {query}"


def longest(inputs, made):
    return len(made.answer)


def agent():
    return dspex.ReAct("question -> answer", tools=[search], max_iters=3)


@dspex.module
async def asks(
    question, first=dspex.Predict("question -> query"), then=dspex.ChainOfThought("question, query -> answer")
):
    found = await first.acall(question=question)
    return await then.acall(question=question, query=found.query)


@dspex.module
def asks_in_sync(question, then=dspex.ChainOfThought("question -> answer")):
    return then(question=question)


class Compares(dspex.Module):
    """MultiChainComparison, called with a question only."""

    def __init__(self):
        self.compare = dspex.MultiChainComparison("question -> answer")

    async def aforward(self, question):
        return await self.compare.acall(ATTEMPTS, question=question)


class Votes(dspex.Module):
    """The answer that most of three give."""

    def __init__(self):
        self.predict = dspex.Predict("question -> answer")

    async def aforward(self, question):
        return dspex.majority([await self.predict.acall(question=question) for _ in range(3)])


class Nearest(dspex.Module):
    """Shows the model the examples that are most like the question."""

    def __init__(self):
        examples = [dspex.Example(question=f"{n}?", answer=str(n)).with_inputs("question") for n in range(5)]
        self.nearest = dspex.KNN(2, examples, dspex.CharacterVectorizer())
        self.predict = dspex.Predict("question -> answer")

    async def aforward(self, question):
        return await self.predict.acall(question=question, demos=await self.nearest.acall(question=question))


class Reads(dspex.Module):
    """Answers from what was retrieved."""

    def __init__(self, rm=None):
        self.rm = rm or found_pages
        self.retrieve = dspex.Retrieve(k=2)
        self.predict = dspex.Predict("context: list[str], question -> answer")

    async def aforward(self, question):
        with dspex.context(rm=self.rm):
            found = await self.retrieve.acall(question)
        return await self.predict.acall(context=found.passages, question=question)


def found_pages(query, k):
    return [f"{query} {number}" for number in range(k)]


def length(texts):
    return [[float(len(text))] for text in texts]


class Searches(dspex.Module):
    """Answers from texts that are near by their vectors."""

    def __init__(self):
        self.search = dspex.Embeddings(["a", "bb", "ccc"], length, k=2, normalize=False)
        self.predict = dspex.Predict("context: list[str], question -> answer")

    async def aforward(self, question):
        found = await self.search.acall(question)
        assert found.passages == ["ccc", "bb"]
        return await self.predict.acall(context=found.passages, question=question)


class Index:
    """An index of vectors, as small as can be."""

    def __init__(self, options, http, embedder):
        self.embedder, self.kept = embedder, []

    async def add(self, passages):
        rows = await self.embedder.embed([passage.text for passage in passages])
        self.kept += [(passage, row[0]) for passage, row in zip(passages, rows, strict=True)]

    async def retrieve(self, query, k):
        return [passage for passage, _ in sorted(self.kept, key=lambda one: -one[1])[:k]]


@pytest.fixture
def index():
    """A plugin for Embeddings, in a default App with nothing else."""
    hook = dspex.hookimpl(lambda: [dspex.Spec("vectors", Index)])
    plugins = PluginManager(lambda: [Source("vectors", lambda: SimpleNamespace(dspex_retrievers=hook))], environ={})
    default_app.replace(dspex.App(plugins=plugins))
    yield
    reset()


class Pairs(dspex.Module):
    """Asks twice at once, and gives the longer answer."""

    def __init__(self):
        self.first = dspex.Predict("question -> answer")
        self.second = dspex.Predict("question -> answer")

    async def aforward(self, question):
        pairs = [(self.first, {"question": question}), (self.second, {"question": question})]
        parallel = dspex.Parallel(num_threads=1, max_errors=9, return_failed_examples=True)
        found, _, errors = await parallel.acall(pairs)
        if errors:
            raise errors[0]
        return max(found, key=lambda one: len(one.answer))


def codes(code, **more):
    return {"reasoning": "r", "generated_code": code, **more}


WORK = [step("search", query="x"), step("finish")]
# How it is made, what the model says, which answer comes of it.
KINDS = {
    "Predict": (lambda: dspex.Predict("question -> answer"), [{"answer": "4"}], "4"),
    "ChainOfThought": (lambda: dspex.ChainOfThought("question -> answer"), [ANSWER], "4"),
    "majority": (Votes, [{"answer": "4"}, {"answer": "5"}, {"answer": "4"}], "4"),
    "KNN": (Nearest, [{"answer": "4"}], "4"),
    "Retrieve": (Reads, [{"answer": "4"}], "4"),
    "Embeddings": (Searches, [{"answer": "4"}], "4"),
    "Parallel": (Pairs, [{"answer": "4"}, {"answer": "44"}], "44"),
    "ReActV2": (
        lambda: dspex.ReActV2("question -> answer", tools=[search]),
        [step("search", query="x"), step("finish"), ANSWER],
        "4",
    ),
    "MultiChainComparison": (
        Compares,
        [{"rationale": "r", "answer": "4"}],
        "4",
    ),
    "BestOfN": (
        lambda: dspex.BestOfN(dspex.ChainOfThought("question -> answer"), 2, longest, None),
        [ANSWER, OTHER],
        "44",
    ),
    "Refine": (
        lambda: dspex.Refine(dspex.ChainOfThought("question -> answer"), 2, longest, None),
        [ANSWER, ADVICE, OTHER],
        "44",
    ),
    "ReAct": (agent, [*WORK, ANSWER], "4"),
    "ProgramOfThought": (
        lambda: dspex.ProgramOfThought("question -> answer"),
        [codes("1 / 0"), codes("SUBMIT({'answer': 2 + 2})"), ANSWER],
        "4",
    ),
    "CodeAct": (
        lambda: dspex.CodeAct("question -> answer", tools=[search], max_iters=3),
        [codes("found = search('x')", finished="false"), codes("print(found)", finished="true"), ANSWER],
        "4",
    ),
    "RLM": (
        lambda: dspex.RLM("question -> answer", max_iters=2),
        [{"reasoning": "r", "code": "question"}, {"reasoning": "r", "code": "len(question)"}, {"answer": "4"}],
        "4",
    ),
    "a function": (asks.deepcopy, [{"query": "q"}, ANSWER], "4"),
    "a sync function": (asks_in_sync.deepcopy, [ANSWER], "4"),
    "BestOfN of ReAct": (lambda: dspex.BestOfN(agent(), 2, longest, None), [*WORK, ANSWER, *WORK, OTHER], "44"),
    "Refine of ReAct": (lambda: dspex.Refine(agent(), 2, longest, None), [*WORK, ANSWER, ADVICE, *WORK, OTHER], "44"),
    "ReAct with a program as a tool": (
        lambda: dspex.ReAct("question -> answer", tools=[dspex.Tool(asks.acall, "asks", "Asks.")]),
        [step("asks", question="x"), {"query": "q"}, ANSWER, step("finish"), OTHER],
        "44",
    ),
}


pytestmark = pytest.mark.usefixtures("index", "sandbox")


class Holds(dspex.Module):
    """Runs another module in its sync form."""

    def __init__(self, inner):
        self.inner = inner

    def forward(self, question):
        return self.inner(question=question)


@pytest.fixture(params=KINDS)
def kind(request):
    return KINDS[request.param]


def test_both_forms_do_the_same(run, provider, kind):
    make, said, answer = kind
    script = provider(*said)
    with dspex.context(lm=script.lm):
        found = run(make(), question="?")
    assert found.answer == answer
    assert not script.replies


def test_it_works_in_another_module_and_counts_usage(run, provider, kind):
    make, said, answer = kind
    with dspex.context(lm=provider(*said).lm), dspex.track_usage() as usage:
        assert run(Holds(make()), question="?").answer == answer
    assert usage.get_total_tokens()["my/model"]["prompt_tokens"] == 10 * len(
        said
    )  # an embedder's calls are counted beside


def test_a_failing_model_is_an_error_of_its_own(run, provider, kind):
    make, said, _ = kind
    script = provider(*[dspex.AuthError("no key")] * len(said))
    with dspex.context(lm=script.lm), pytest.raises(dspex.AuthError):
        run(make(), question="?")


async def test_cancelled_at_any_call_it_leaves_nothing_running(provider, kind):
    make, said, _ = kind
    for place in range(len(said)):
        script = provider(*said[:place], None)
        with dspex.context(lm=script.lm):
            task = asyncio.create_task(make().acall(question="?"))
            await script.entered()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await script.left()
        assert script.ended == len(script.asked) == place + 1


def test_a_budget_is_a_wall(run, provider, kind):
    make, said, _ = kind
    most = len(said) - 1
    with dspex.context(lm=provider(*said).lm), dspex.budget(calls=most) as budget, pytest.raises(dspex.BudgetExceeded):
        run(make(), question="?")
    assert budget.spent.calls == most


async def test_a_stream_ends_with_what_a_plain_call_gives(provider, kind):
    make, said, answer = kind
    program = make()
    path, predictor = program.named_predictors()[-1]
    streamed = dspex.streamify(program, stream_listeners=[StreamListener("answer", predictor, path)])
    with dspex.context(lm=provider(*said).lm):
        items = [item async for item in streamed(question="?")]
    assert items[-1].answer == answer
    chunks = [item for item in items if isinstance(item, StreamResponse)]
    assert "".join(chunk.chunk for chunk in chunks) == answer
    assert {chunk.predict_name for chunk in chunks} == {path}


def told(events):
    """Events without the numbers of calls."""
    kinds = (ToolStarted, ToolFinished)
    return [msgspec.structs.replace(one, call_id="") if isinstance(one, kinds) else one for one in events]


def test_its_events_are_the_same_in_both_forms(provider, kind):
    make, said, answer = kind

    async def async_form(program):
        return [event async for event in program.astream(question="?")]

    with dspex.context(lm=provider(*said).lm):
        one = asyncio.run(async_form(make()))
    with dspex.context(lm=provider(*said).lm):
        other = list(make().stream(question="?"))
    assert isinstance(one[-1], Finished)
    assert one[-1].prediction.answer == answer
    assert any(isinstance(event, FieldDelta) for event in one)
    assert told(one) == told(other)


def test_a_failure_inside_is_raised_behind_what_was_streamed(provider, kind):
    make, said, _ = kind
    program, events = make(), []
    # Of attempts the last may fail: then the best one before counts.
    before = [] if isinstance(program, dspex.BestOfN | dspex.Refine) else said[:-1]
    script = provider(*before, *[dspex.AuthError("no key")] * len(said))

    def read():
        for event in program.stream(question="?"):
            events.append(event)  # noqa: PERF402  what came before the error has to stand

    with dspex.context(lm=script.lm), pytest.raises(dspex.AuthError):
        read()
    assert bool(before) == any(isinstance(event, FieldDelta) for event in events)
    assert not any(isinstance(event, Finished) for event in events)


async def test_a_reader_that_leaves_its_stream_leaves_nothing_running(provider, kind):
    make, said, _ = kind
    script = provider(*said[:-1], None)

    async def read():
        async for _ in make().astream(question="?"):
            pass

    with dspex.context(lm=script.lm):
        task = asyncio.create_task(read())
        await script.entered()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await script.left()
    assert script.ended == len(script.asked) == len(said)


def test_its_file_is_enough_where_its_functions_may_be_imported(run, provider, kind, tmp_path):
    make, said, answer = kind
    program = make()
    program.save(tmp_path / "p.json", whole=True)
    loaded = dspex.load(tmp_path / "p.json", allow=["tests"])
    assert loaded.dump_state() == program.dump_state()
    script = provider(*said)
    with dspex.context(lm=script.lm):
        assert run(loaded, question="?").answer == answer
    assert not script.replies


def test_what_is_saved_comes_back(kind, tmp_path):
    program = kind[0]()
    for number, predictor in enumerate(program.predictors()):
        predictor.signature = predictor.signature.with_instructions(f"Task {number}.")
        predictor.demos = [dspex.Example(dict.fromkeys(predictor.signature.fields, "x"))]
    program.save(tmp_path / "p.json")
    loaded = kind[0]().load(tmp_path / "p.json")
    assert loaded.dump_state() == program.dump_state()
    assert program.deepcopy().dump_state() == program.dump_state()
    assert all(not predictor.demos for predictor in program.reset_copy().predictors())


def test_an_optimizer_makes_programs_of_its_candidates(run, provider, kind):
    make, said, answer = kind
    candidate = extracted(make())
    better = {
        path: msgspec.structs.replace(state, instructions=f"Better {path}.")
        for path, state in candidate.predictors.items()
    }
    script = provider(*said)
    program = Programs(make(), finish=lambda made, of: None).fresh(Candidate(candidate.structure, better))
    with dspex.context(lm=script.lm):
        assert run(program, question="?").answer == answer
    prompts = "\n".join(request.messages[0].text for request in script.asked)
    assert all(f"Better {path}." in prompts for path in better)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (dspex.BestOfN(agent(), 2, longest, None), dspex.BestOfN(agent(), 3, longest, None)),
        (dspex.BestOfN(agent(), 2, longest, None), dspex.BestOfN(agent(), 2, lambda inputs, made: 1, None)),
        (agent(), dspex.ReAct("question -> answer", tools=[search], max_iters=4)),
        (
            agent(),
            dspex.ReAct("question -> answer", tools=[dspex.Tool(lambda query: query, name="search")], max_iters=3),
        ),
        (agent(), dspex.ReAct("question -> answer", tools=[dspex.Tool(search, desc="Looks.")], max_iters=3)),
        (dspex.ProgramOfThought("a -> b"), dspex.ProgramOfThought("a -> b", sandbox="other")),
        (dspex.CodeAct("a -> b", [search]), dspex.CodeAct("a -> b", [search], limits=dspex.SandboxLimits(seconds=1))),
        (dspex.RLM("a -> b"), dspex.RLM("a -> b", max_llm_calls=1)),
    ],
    ids=["N", "the reward", "max_iters", "a tool's code", "a tool's words", "a sandbox", "limits", "max_llm_calls"],
)
def test_what_it_was_made_with_is_part_of_its_identity(one, other):
    assert structure_of(one) != structure_of(other)
    assert structure_of(one) == structure_of(one.deepcopy())


NAMES = """Predict ChainOfThought ReAct ReActV2 ProgramOfThought CodeAct MultiChainComparison BestOfN Refine Parallel KNN majority
RLM Retrieve Module module""".split()


def test_every_module_has_its_public_name():
    assert not [name for name in NAMES if name not in dspex.__all__ or not hasattr(dspex, name)]
    assert dspex.ReActV2 is dspex.ReAct


@pytest.mark.parametrize("is_async", [False, True], ids=["sync rm", "async rm"])
def test_a_retriever_that_fails_is_an_error_of_its_own(run, provider, is_async):
    def fails(query, k):
        raise ConnectionError("no index")

    async def fails_later(query, k):
        fails(query, k)

    with dspex.context(lm=provider().lm), pytest.raises(ConnectionError, match="no index"):
        run(Reads(fails_later if is_async else fails), question="?")


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
async def test_a_search_for_neighbours_that_is_cancelled_is_made_anew(is_async):
    calls, waiting = [], asyncio.Event()

    async def vectors(texts):
        calls.append(len(texts))
        if len(calls) == 1:
            waiting.set()
            await asyncio.Event().wait()
        return [[float(len(text))] for text in texts]

    example = dspex.Example(question="a", answer="b").with_inputs("question")
    knn = dspex.KNN(1, [example], vectors)
    task = asyncio.create_task(knn.acall(question="?"))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await (knn.acall(question="?") if is_async else asyncio.to_thread(knn, question="?"))
    assert found == [example]


def test_a_vectorizer_that_fails_is_asked_again(run, provider):
    calls = []

    def fails_once(texts):
        calls.append(texts)
        if len(calls) == 1:
            raise ConnectionError("no model")
        return [[1.0] for _ in texts]

    program = Nearest()
    program.nearest = dspex.KNN(1, program.nearest.trainset, fails_once)
    with dspex.context(lm=provider({"answer": "4"}).lm):
        with pytest.raises(ConnectionError):
            run(program, question="?")
        assert run(program, question="?").answer == "4"


@pytest.mark.parametrize(
    "make",
    [dspex.Predict, dspex.ChainOfThought, dspex.MultiChainComparison, lambda given: dspex.ReAct(given, tools=[search])],
    ids=["Predict", "ChainOfThought", "MultiChainComparison", "ReAct"],
)
def test_a_module_without_a_signature_is_refused_where_it_is_made(make):
    with pytest.raises(dspex.SignatureError, match="A signature is needed"):
        make(None)


def test_no_signature_and_no_config_in_a_call_are_those_of_the_predictor():
    with dspex.context(lm=dspex.testing.DummyLM([ANSWER])):
        assert dspex.Predict("question -> answer")(question="2+2?", signature=None, config=None).answer == "4"
