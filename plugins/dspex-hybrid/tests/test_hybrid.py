"""Retrievers of retrievers."""

import asyncio

import pytest

import dspex
from dspex_hybrid import fused, reranked
from dspex_hybrid.fusion import merged

TEXTS = [f"passage {number}" for number in range(6)]


class Ranked:
    """A RetrieverProvider that always gives one order; `asked` holds what came."""

    def __init__(self, *numbers, with_ids=True):
        self.passages = [
            dspex.Passage(TEXTS[number], 9.0 - place, str(number) if with_ids else "", {"even": number % 2 == 0})
            for place, number in enumerate(numbers)
        ]
        self.asked, self.added, self.deleted = [], [], []
        self.step = None
        self.cancelled = False
        self.begun = asyncio.Event()

    async def retrieve(self, query, k):
        return (await self.search([query], k, ()))[0]

    async def search(self, queries, k, where):
        self.asked.append((queries, k, where))
        self.begun.set()
        if isinstance(self.step, Exception):
            raise self.step
        if self.step is not None:
            try:
                await self.step.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
        kept = [one for one in self.passages if all(c.holds(one.metadata.get(c.field)) for c in where)]
        return [kept[:k] for _ in queries]

    async def add(self, passages):
        self.added += passages

    async def delete(self, ids):
        self.deleted += ids


def handle(*numbers, **options):
    provider = Ranked(*numbers, **options)
    return dspex.Retriever(f"ranked{len(numbers)}", provider=provider, num_retries=0), provider


def ids(passages):
    return [passage.id for passage in passages]


# Fusion


def test_what_several_find_comes_before_what_one_finds_first():
    (one, _), (other, _) = handle(0, 1, 2), handle(3, 2, 4)
    found = fused(one, other, k=9)("?")
    assert ids(found) == ["2", "0", "3", "1", "4"]
    assert found[0].score == pytest.approx(1 / 63 + 1 / 62)
    assert found[1].score == pytest.approx(1 / 61)
    assert found[0].text == TEXTS[2]


def test_weights_say_whom_to_trust():
    (one, _), (other, _) = handle(0, 1), handle(2, 3)
    assert ids(fused(one, other, weights=[1, 3], k=4)("?")) == ["2", "3", "0", "1"]
    assert ids(fused(one, other, weights=[1, 0], k=2)("?")) == ["0", "1"]


def test_passages_without_ids_are_the_same_by_their_text():
    (one, _), (other, _) = handle(0, 1, with_ids=False), handle(1, with_ids=False)
    assert [passage.text for passage in fused(one, other)("?")] == [TEXTS[1], TEXTS[0]]


def test_a_passage_that_stands_in_a_list_twice_counts_once():
    twice, other = (
        [dspex.Passage("a"), dspex.Passage("b"), dspex.Passage("a"), dspex.Passage("c")],
        [dspex.Passage("b")],
    )
    found = merged([twice, other], [1, 1])
    assert [passage.text for passage in found] == ["b", "a", "c"]
    assert [passage.score for passage in found] == pytest.approx([1 / 62 + 1 / 61, 1 / 61, 1 / 63])


def test_an_id_and_an_equal_text_are_two_things():
    assert len(merged([[dspex.Passage("1")], [dspex.Passage("x", id="1")]], [1, 1])) == 2


def test_each_is_asked_deeper_than_k():
    (one, first), (other, second) = handle(0), handle(1)
    fused(one, other, k=2)("?")
    fused(one, other, k=80)("?")
    fused(one, other, depth=7)("?")
    assert [k for _, k, _ in first.asked] == [k for _, k, _ in second.asked] == [50, 80, 7]


def test_conditions_and_lists_of_queries_go_to_each():
    (one, first), (other, second) = handle(0, 1, 2), handle(1, 3, 4)
    found = fused(one, other, k=9)(["a", "b"], where={"even": True})
    assert list(map(ids, found)) == [["0", "4", "2"]] * 2 or list(map(ids, found)) == [["0", "2", "4"]] * 2
    assert len(first.asked) == len(second.asked) == 1
    assert first.asked[0] == second.asked[0]


def test_changes_go_to_all_under_one_id():
    (one, first), (other, second) = handle(0), handle(1)
    both = fused(one, other)
    [name] = both.add(["new"])
    both.delete([name])
    assert ids(first.added) == ids(second.added) == first.deleted == second.deleted == [name]


async def test_one_that_fails_ends_the_search_and_the_others():
    (one, first), (other, second) = handle(0), handle(1)
    first.step, second.step = asyncio.Event(), dspex.Unavailable("down")
    with pytest.raises(dspex.RetrieverError, match="down"):
        await fused(one, other).acall("?")
    assert first.cancelled


async def test_a_cancelled_search_cancels_all():
    (one, first), (other, second) = handle(0), handle(1)
    first.step, second.step = asyncio.Event(), asyncio.Event()
    task = asyncio.ensure_future(fused(one, other).acall("?"))
    await asyncio.gather(first.begun.wait(), second.begun.wait())
    task.cancel()
    await asyncio.wait([task])
    assert (task.cancelled(), first.cancelled, second.cancelled) == (True, True, True)


@pytest.mark.parametrize(
    ("count", "options", "message"),
    [
        (1, {}, "two retrievers or more"),
        (2, {"weights": [1]}, "weights"),
        (2, {"weights": [0, 0]}, "not all of them zero"),
        (2, {"weights": [1, -1]}, "zero or more"),
        (2, {"weights": [1, float("nan")]}, "weights"),
        (2, {"depth": 0}, "depth=0"),
        (2, {"k": 0}, "k=0"),
    ],
    ids=str,
)
def test_a_fusion_that_cannot_be_meant_is_refused(count, options, message):
    with pytest.raises(dspex.ConfigurationError, match=message):
        fused(*(handle(0)[0] for _ in range(count)), **options)


def test_many_searches_at_once_are_kept_apart():
    (one, _), (other, _) = handle(0, 1, 2), handle(3, 2, 4)
    both = fused(one, other, k=2)

    async def main():
        return await asyncio.gather(*(both.acall(f"{number}") for number in range(100)))

    assert {tuple(ids(found)) for found in asyncio.run(main())} == {("2", "0")}


# Reranking


def backwards(query, passages):
    return list(range(len(passages)))


async def async_backwards(query, passages):
    return backwards(query, passages)


def later(query, passages):
    return async_backwards(query, passages)


class Callable:
    def __call__(self, query, passages):
        return backwards(query, passages)


@pytest.mark.parametrize("rerank", [backwards, async_backwards, Callable(), later])
def test_passages_come_in_the_order_of_their_new_scores(rerank):
    one, provider = handle(0, 1, 2, 3)
    found = reranked(one, rerank, candidates=3, k=2)("?")
    assert ids(found) == ["2", "1"]
    assert [passage.score for passage in found] == [2.0, 1.0]
    assert provider.asked[0][1] == 3


def test_of_equal_ones_the_order_stays():
    one, _ = handle(3, 1, 2)
    assert ids(reranked(one, lambda query, passages: [0] * len(passages))("?")) == ["3", "1", "2"]


def test_each_query_of_a_list_has_its_own_order():
    one, _ = handle(0, 1)

    def by_query(query, passages):
        return backwards(query, passages) if query == "back" else backwards(query, passages)[::-1]

    assert list(map(ids, reranked(one, by_query)(["back", "plain"], where={"even": [True, False]}))) == [
        ["1", "0"],
        ["0", "1"],
    ]


def test_where_nothing_is_found_nothing_is_asked():
    one, _ = handle()

    def never(query, passages):
        raise AssertionError

    assert reranked(one, never)("?") == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (lambda *_: [1.0], "1 scores for 2 passages"),
        (lambda *_: [1.0, float("nan")], "finite"),
        (lambda *_: None, "no number a passage"),
        (lambda *_: ["a", "b"], "no number a passage"),
        (lambda *_: {}["x"], "KeyError: 'x'"),
    ],
    ids=["few", "nan", "none", "texts", "raises"],
)
def test_a_reranking_that_breaks_is_told(given, message):
    one, provider = handle(0, 1)
    with pytest.raises(dspex.RetrieverError, match=message):
        reranked(one, given)("?")
    assert len(provider.asked) == 1


async def test_a_reranking_that_fails_ends_those_of_the_other_queries():
    one, _ = handle(0, 1)
    begun, cancelled = asyncio.Event(), []

    async def rerank(query, passages):
        if query == "bad":
            await begun.wait()
            raise KeyError(query)
        begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(query)
            raise

    with pytest.raises(dspex.RetrieverError, match="bad"):
        await reranked(one, rerank).acall(["slow", "bad"])
    assert cancelled == ["slow"]


def test_a_fusion_is_reranked_and_a_reranking_fused():
    (one, _), (other, _) = handle(0, 1, 2), handle(3, 2, 4)
    assert ids(reranked(fused(one, other), backwards, k=1)("?")) == ["4"]
    assert ids(fused(reranked(one, backwards), other, k=1)("?")) == ["2"]


@pytest.mark.parametrize("options", [{"candidates": 0}, {"rerank": "model"}], ids=repr)
def test_a_reranking_that_cannot_be_meant_is_refused(options):
    with pytest.raises(dspex.ConfigurationError):
        reranked(handle(0)[0], **{"rerank": backwards, **options})


def test_changes_go_to_the_retriever():
    one, provider = handle(0)
    [name] = reranked(one, backwards).add(["new"])
    reranked(one, backwards).delete([name])
    assert ids(provider.added) == provider.deleted == [name]
