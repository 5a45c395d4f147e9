"""Searches that are narrowed by metadata, and many queries at a time."""

import asyncio
import datetime
import pickle

import msgspec
import pytest

import dspex
from dspex.core.events import RequestFinished
from dspex.core.where import Condition, conditions
from dspex.plugin import RetrieverRequest, all_hold
from dspex.testing import BaseCallback, VirtualClock, simulate

BOOKS = [
    dspex.Passage("Emma", 0.9, "1", {"year": 1815, "lang": "en", "read": True}),
    dspex.Passage("Ulysses", 0.8, "2", {"year": 1922, "lang": "en", "read": False}),
    dspex.Passage("Faust", 0.7, "3", {"year": 1808.0, "lang": "de"}),
    dspex.Passage("Unknown", 0.6, "4"),
]


class Plain:
    """A RetrieverProvider that only retrieves."""

    def __init__(self):
        self.asked = []

    async def retrieve(self, query, k):
        self.asked.append(query)
        await asyncio.sleep(1.0)
        return BOOKS[:k]


class Searching(Plain):
    """One that searches: `searches` holds what came."""

    def __init__(self):
        super().__init__()
        self.searches, self.steps = [], []

    async def search(self, queries, k, where):
        self.searches.append((queries, k, where))
        if self.steps:
            step = self.steps.pop(0)
            if isinstance(step, Exception):
                raise step
            return step
        return [[one for one in BOOKS if all_hold(where, one.metadata)][:k] for _ in queries]


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


def run(main, **settings):
    async def inside():
        async with dspex.App(clock=VirtualClock(), seed=1, **settings):
            return await main()

    return simulate(inside)[0]


def texts(passages):
    return [passage.text for passage in passages]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ({"lang": "en"}, ["Emma", "Ulysses"]),
        ({"lang": ["de", "fr"]}, ["Faust"]),
        ({"year": 1808}, ["Faust"]),
        ({"year": {"gte": 1808, "lt": 1900}}, ["Emma", "Faust"]),
        ({"year": {"gt": 1815}}, ["Ulysses"]),
        ({"year": {"lte": 1808}}, ["Faust"]),
        ({"read": True}, ["Emma"]),
        ({"read": 1}, []),
        ({"year": "1815"}, []),
        ({"lang": "en", "read": False}, ["Ulysses"]),
        ({"absent": "x"}, []),
        ({"lang": {"gt": 1}}, []),
        ({}, ["Emma", "Ulysses", "Faust", "Unknown"]),
        (None, ["Emma", "Ulysses", "Faust", "Unknown"]),
    ],
    ids=repr,
)
def test_a_search_is_narrowed_by_metadata(where, found):
    async def main():
        return texts(await dspex.Retriever("own", provider=Searching(), k=9).acall("?", where=where))

    assert run(main) == found


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("lang", "a dictionary of metadata fields, not 'lang'"),
        ({1: "x"}, "by texts, not by 1"),
        ({"": "x"}, "by texts, not by ''"),
        ({"lang": None}, "texts, finite numbers of 64 bits and booleans, not None"),
        ({"year": float("nan")}, "not nan"),
        ({"year": 2**64}, "64 bits .* not 18446744073709551616"),
        ({"year": {"gt": -(10**400)}}, "64 bits"),
        ({"lang": []}, "one value at least"),
        ({"year": {"above": 3}}, "bounds are gt, gte, lt, lte"),
        ({"year": {"gt": "3"}}, "a bound is a number"),
        ({"year": {"gt": float("inf")}}, "not inf"),
        ({"year": [{"gt": 3}]}, "not {'gt': 3}"),
    ],
    ids=repr,
)
def test_what_cannot_be_meant_is_told_before_anything_is_asked(where, message):
    provider = Searching()
    with pytest.raises(dspex.InputError, match=message):
        dspex.Retriever("own", provider=provider)("?", where=where)
    assert not provider.searches


def test_conditions_are_in_one_order_so_that_equal_ones_are_equal():
    one, other = conditions({"a": 1, "b": {"gt": 2}}), conditions({"b": {"gt": 2}, "a": (1,)})
    assert one == other == (Condition("a", "in", (1,)), Condition("b", "gt", (2,)))


def test_a_retriever_that_cannot_narrow_says_so():
    with pytest.raises(dspex.RetrieverError, match=r"'own' cannot narrow a search by metadata \(where="):
        dspex.Retriever("own", provider=Plain())("?", where={"lang": "en"})


def test_a_request_without_conditions_is_what_it_was():
    assert msgspec.json.encode(RetrieverRequest("own", "?", 3)) == b'{"retriever":"own","query":"?","k":3}'


# Many queries


def test_a_list_of_queries_gives_a_list_each_in_one_call():
    provider, events = Searching(), []

    async def main():
        dspex.app.app.current_app().bus.subscribe(events.append, "test")
        return await dspex.Retriever("own", provider=provider, k=1).acall(["a", "b", "c"], where={"lang": "de"})

    assert list(map(texts, run(main))) == [["Faust"]] * 3
    assert provider.searches == [(["a", "b", "c"], 1, (Condition("lang", "in", ("de",)),))]
    assert len([event for event in events if isinstance(event, RequestFinished)]) == 1


def test_where_the_retriever_takes_one_at_a_time_they_go_side_by_side():
    provider = Plain()

    async def main():
        found = await dspex.Retriever("own", provider=provider, k=1).acall(["a", "b", "c"])
        return found, asyncio.get_running_loop().time()

    found, seconds = run(main)
    assert list(map(texts, found)) == [["Emma"]] * 3
    assert provider.asked == ["a", "b", "c"]
    assert seconds < 1.5


def test_no_queries_give_no_lists():
    provider = Searching()
    assert dspex.Retriever("own", provider=provider)([]) == []
    assert not provider.searches


def test_of_a_list_only_what_was_never_asked_is_asked():
    provider = Searching()

    async def main():
        retriever = dspex.Retriever("own", provider=provider, k=1, cache=True)
        first = await retriever.acall(["a", "b"])
        second = await retriever.acall(["b", "c", "a"])
        return first, second, await retriever.acall("c")

    first, second, third = run(main, cache=Cache())
    assert first == [third] * 2
    assert second == [third] * 3
    assert [queries for queries, *_ in provider.searches] == [["a", "b"]]
    assert provider.asked == ["c"]


def test_conditions_tell_kept_results_apart():
    async def main():
        retriever = dspex.Retriever("own", provider=Searching(), k=1, cache=True)
        return [texts(await retriever.acall("a", where=where)) for where in (None, {"lang": "de"}, {"lang": "en"})]

    assert run(main, cache=Cache()) == [["Emma"], ["Faust"], ["Emma"]]


def test_a_failed_list_is_tried_again_and_its_end_is_typed():
    provider = Searching()
    provider.steps = [dspex.Unavailable("down")]

    async def again():
        return await dspex.Retriever("own", provider=provider).acall(["a", "b"])

    assert len(run(again)) == 2
    for step in ([BOOKS], [BOOKS, ["text"]], None, dspex.AuthError("no")):
        provider.steps = [step]
        with pytest.raises(dspex.RetrieverError, match="own"):
            run(again)


def test_each_search_of_a_list_is_heard_by_a_middleware():
    said = []

    class Heard:
        async def retrieve(self, request, call_next):
            said.append(request.query)
            return await call_next(request)

        async def __call__(self, request, call_next):
            raise AssertionError("only for LMs")

    provider = Searching()

    async def main():
        return await dspex.Retriever("own", provider=provider).acall(["a", "b"])

    assert len(run(main, middleware=[Heard()])) == 2
    assert (said, provider.searches) == (["a", "b"], [])


def test_a_list_is_recorded_and_played_query_by_query(tmp_path):
    retriever = dspex.Retriever("own", provider=Searching(), k=2)
    with dspex.cassette(tmp_path / "tape.jsonl"):
        recorded = retriever(["a", "b"], where={"lang": "en"})
    with dspex.cassette(tmp_path / "tape.jsonl", mode="replay"):
        silent = dspex.Retriever("own", provider=object(), k=2)
        assert silent(["b"], where={"lang": "en"}) == recorded[1:]
        with pytest.raises(dspex.CassetteMiss):
            silent("b")


def test_callbacks_hear_of_a_list_once():
    said = []

    class Heard(BaseCallback):
        def on_retriever_start(self, call_id, instance, inputs):
            said.append(inputs)

    dspex.Retriever("own", provider=Searching(), callbacks=[Heard()])(["a", "b"], 1, where={"lang": "en"})
    assert said == [{"query": ["a", "b"], "k": 1, "where": {"lang": "en"}}]


@pytest.mark.parametrize("query", [None, 3, ["a", 3], {"a": 1}], ids=repr)
def test_a_query_is_a_text_or_a_list_of_them(query):
    with pytest.raises(dspex.InputError, match="as text"):
        dspex.Retriever("own", provider=Searching())(query)


def test_half_a_surrogate_pair_is_told_before_anything_is_asked():
    retriever = dspex.Retriever("own", provider=Growing())
    with pytest.raises(dspex.InputError, match=r"Query 1 .* at 2"):
        retriever(["fine", "a \ud83d"])
    for passage in ("\ud83d", dspex.Passage("a", id="\ud83d")):
        with pytest.raises(dspex.InputError, match="Passage 0"):
            retriever.add([passage])


def test_retrieve_hands_conditions_on():
    with dspex.context(rm=dspex.Retriever("own", provider=Searching())):
        assert dspex.Retrieve(k=2)("?", where={"lang": "de"}).passages == ["Faust"]


# What is added


class Growing(Searching):
    def __init__(self):
        super().__init__()
        self.added = []

    async def add(self, passages):
        self.added += passages

    async def delete(self, ids):
        raise AssertionError("never reached")


def test_passages_without_an_id_get_one_of_their_content():
    provider = Growing()
    ids = dspex.Retriever("own", provider=provider).add(["a", dspex.Passage("a"), dspex.Passage("a", id="x")])
    assert ids == [passage.id for passage in provider.added]
    assert ids[0] == ids[1] != ids[2] == "x"
    [other] = dspex.Retriever("own", provider=provider).add([dspex.Passage("a", metadata={"b": 1})])
    assert other not in ids


@pytest.mark.parametrize(
    ("passages", "message"),
    [
        ("text", "a list of passages"),
        (dspex.Passage("a"), "a list of passages"),
        ([3], "item 0 is 3"),
        (["a", dspex.Passage("b", id=5)], "Passage 1 has 5 where a text belongs"),
        ([dspex.Passage(None, id="a")], "Passage 0 has None where a text belongs"),
    ],
    ids=repr,
)
def test_what_is_no_list_of_passages_is_not_added(passages, message):
    provider = Growing()
    with pytest.raises(dspex.InputError, match=message):
        dspex.Retriever("own", provider=provider).add(passages)
    assert not provider.added


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ({"b": object()}, "no JSON form for object"),
        ({"b": float("nan")}, "'b': nan is no number"),
        ({"b": [1, {"c": float("inf")}]}, "'b': 'c': inf is no number"),
        ({"b": 2**64}, "'b': .* more than 64 bits"),
        ({"b": "\ud83d"}, "'b': half of a surrogate pair"),
        ({"\ud83d": 1}, "half of a surrogate pair"),
        (["b"], "no dictionary"),
    ],
    ids=["object", "nan", "deep", "huge", "surrogate", "field", "list"],
)
def test_metadata_that_no_index_could_keep_is_told_whatever_the_retriever(metadata, message):
    provider = Growing()
    with pytest.raises(dspex.InputError, match=f"metadata of passage 1 is no JSON data: .*{message}"):
        dspex.Retriever("own", provider=provider).add(["a", dspex.Passage("a", id="x", metadata=metadata)])
    assert not provider.added


def test_metadata_is_kept_as_json_would_and_is_the_indexs_own():
    provider, own = Growing(), {"day": datetime.date(2024, 2, 29), 1: (1, 2), "deep": {"list": [None, True]}}
    dspex.Retriever("own", provider=provider).add([dspex.Passage("a", id="x", metadata=own)])
    own["deep"]["list"].append("later")
    [passage] = provider.added
    assert passage.metadata == {"day": "2024-02-29", "1": (1, 2), "deep": {"list": [None, True]}}


def test_a_handle_that_was_used_is_pickled_as_one_that_was_not():
    retriever = dspex.Retriever("own", provider=Searching(), k=2, embedder=dspex.Embedder(len, cache_key="len"))
    retriever(["?", "!"])
    _ = retriever.embedder.service
    assert [*map(texts, pickle.loads(pickle.dumps(retriever))(["?", "!"]))] == [["Emma", "Ulysses"]] * 2


def test_ids_to_delete_are_texts():
    with pytest.raises(dspex.InputError, match="Id 1 has 5 where a text belongs"):
        dspex.Retriever("own", provider=Growing()).delete(["a", 5])


class Three:
    def __index__(self):
        return 3


@pytest.mark.parametrize(("k", "asked"), [(Three(), 3), (10**30, 2**31 - 1)])
def test_k_is_any_whole_number_that_an_engine_takes(k, asked):
    provider = Searching()
    dspex.Retriever("own", provider=provider)(["a", "b"], k)
    assert provider.searches == [(["a", "b"], asked, ())]


def test_a_change_that_fails_on_its_way_is_a_retriever_error():
    class Down(Growing):
        async def add(self, passages):
            raise dspex.Unavailable("nobody there")

    with pytest.raises(dspex.RetrieverError, match=r"'own' failed at `add`: .*nobody there"):
        dspex.Retriever("own", provider=Down()).add(["a"])


def test_a_change_takes_no_longer_than_the_user_allows():
    class Slow(Growing):
        async def add(self, passages):
            await asyncio.sleep(1e5)

    async def main():
        with pytest.raises(dspex.RetrieverError, match="'own' did not end `add` within 2 s"):
            await dspex.Retriever("own", provider=Slow(), timeout=2.0).aadd(["a"])
        return asyncio.get_running_loop().time()

    assert run(main) == pytest.approx(2.0, rel=0.01)


def test_a_time_limit_of_the_plugins_own_is_told_too():
    class Late(Growing):
        async def add(self, passages):
            raise TimeoutError("late")

    with pytest.raises(dspex.RetrieverError, match="failed at `add`: TimeoutError: late"):
        dspex.Retriever("own", provider=Late()).add(["a"])


def test_one_id_alone_is_not_taken_for_a_list_of_letters():
    with pytest.raises(dspex.InputError, match=r"delete\(\['12'\]\)"):
        dspex.Retriever("own", provider=Growing()).delete("12")
