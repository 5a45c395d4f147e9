"""What a retriever must do, as tests that a plugin's own test class inherits."""

import asyncio
import copy
import os
import re
import threading
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dspex.app.app import App
from dspex.app.embedder import Embedder
from dspex.app.retriever import Retriever
from dspex.core.errors import ConfigurationError, InputError, RetrieverError
from dspex.core.messages import LMResponse, Passage
from dspex.core.where import all_hold, conditions
from dspex.plugin.hookspecs import hookimpl
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.plugin.spec import Spec
from dspex.testing.conduct import holder
from dspex.testing.lm_contract import ended, forked

Work = Callable[[Retriever], Awaitable[None]]

# A word that all passages have, so that a search by words finds them too.
SHARED = "passage"
TOLD: tuple[tuple[str, Mapping[str, Any]], ...] = (
    ("Rome is the capital of Italy", {"kind": "city", "year": 753, "old": True, "rank": 1.5}),
    ("Paris lies on the river Seine", {"kind": "city", "year": 52, "old": True, "rank": -2}),
    ("A spider has eight legs", {"kind": "animal", "year": 1758, "old": False}),
    ("Whales are mammals that swim in oceans", {"kind": "animal", "year": 1758.0}),
    ("Bread is baked of flour and water", {"kind": "food", "year": "52"}),
    ("Volcanoes throw out lava and ash", {}),
)
PASSAGES = tuple(
    Passage(f"{text} {SHARED}", id=str(number), metadata=metadata) for number, (text, metadata) in enumerate(TOLD)
)
CONDITIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "text": {"kind": "city"},
        "any of": {"kind": ["animal", "food"]},
        "number": {"year": 1758},
        "number as float": {"rank": -2.0},
        "text of digits": {"year": "52"},
        "true": {"old": True},
        "false": {"old": False},
        "one is not true": {"old": 1},
        "mixed": {"year": [52, "52"]},
        "above": {"year": {"gt": 753}},
        "at least": {"year": {"gte": 753}},
        "below": {"rank": {"lt": 1.5}},
        "between": {"rank": {"lte": 1.5, "gt": -2}},
        "two": {"kind": "animal", "year": {"gte": 1000}},
        "none": {"kind": "city", "old": False},
        "unknown field": {"absent": "x"},
    }
)
ODD = (
    Passage(f"quoted {SHARED}", id="a'b\"c`d", metadata={"it's": "x' OR '1'='1", 'say "hi"': 1}),
    Passage(f"SQL {SHARED}", id="'; DROP TABLE passages; --", metadata={"a.b": 1, "a": {"b": 2}}),
    Passage(
        f"Ünï 漢字 🙂 {SHARED}",
        id="ü/漢 🙂\n",
        metadata={"ключ": "значение", "with space": [1, [2, None]], "words": ["one"]},
    ),
    Passage(f"braces {{0}} %s {SHARED}", id="x" * 300, metadata={"$and": "y", "": None, "deep": {"e": {"f": [True]}}}),
    Passage(
        f"long {'word ' * 3_000}{SHARED}",
        id="00",
        metadata={"int": 2**53 + 1, "float": 0.1, "minus": -0.5, "id": 2**60 + 1},
    ),
)
ODD_CONDITIONS: tuple[Mapping[str, Any], ...] = (
    {"it's": "x' OR '1'='1"},
    {'say "hi"': 1},
    {"a.b": 1},
    {"ключ": ["значение"]},
    {"$and": "y"},
    # A list is none of its elements, and large numbers are apart as small ones are.
    {"with space": 1},
    {"words": "one"},
    {"int": 2**53 + 1},
    {"int": 2**53},
    {"int": 2**63},
    {"id": 2**60 + 1},
    {"id": 2**60},
)
ODD_QUERIES = ("", "  \n", "?!*()[]{}~^\"'\\", "'; DROP TABLE passages; --", "a\0b", "half: \ud83d", "word " * 5_000)
DIM = 64


class RetrieverContract:
    """Subclass it as `TestMine` and give `spec`.

    `options` are keywords of Retriever; `at` gives those that put an index into a folder. `survives`: what was added is there
    for the next App over the same place. `saves`: it offers `save`, and `loaded` opens what was written. `embedder` is what
    it is handed, None for a retriever that needs no vectors. `broken` gives keywords of one whose storage cannot be used. `forks`
    False: it cannot live in a forked child.
    """

    options: Mapping[str, Any] = MappingProxyType({})
    survives = False
    saves = False
    forks = hasattr(os, "fork")
    limit_s = 50.0
    soon_s = 2.0
    most_held_s = 0.3  # CPU seconds that adding 500 passages, and a search, may take of the loop's thread

    def spec(self) -> Spec:
        """What the plugin declares: `dspex_mine.dspex_retrievers()[0]`."""
        raise NotImplementedError

    def at(self, folder: Path) -> Mapping[str, Any]:
        """Keywords of Retriever for an index of its own, made of a folder of the test's."""
        return {}

    def loaded(self, path: Path) -> Mapping[str, Any]:
        """Keywords of Retriever that open what `save(path)` has written."""
        return {"path": str(path)}

    def broken(self, folder: Path) -> Mapping[str, Any] | None:
        """Keywords of one whose storage cannot be used; None if it has none that could fail."""
        return None

    def embedder(self) -> Embedder | None:
        """Gives the vectors; one object for all handles of a test."""
        return Embedder(hashed_words, cache_key="kit")

    # Running

    def plugins(self) -> PluginManager:
        """A manager that knows this one plugin."""
        spec = self.spec()

        class Plugin:
            dspex_retrievers = staticmethod(hookimpl(lambda: [spec]))

        return PluginManager(lambda: [Source(spec.name, Plugin)], environ={})

    def live(self, work: Work, place: Mapping[str, Any], **more: Any) -> list[str]:
        """Run `work(retriever)` in an App of its own; the tasks that were left when that had ended."""

        async def life() -> list[str]:
            async with asyncio.timeout(self.limit_s):
                async with App(plugins=self.plugins()):
                    await work(self.retriever(**{**place, **more}))
                await asyncio.sleep(0)
                return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

        return asyncio.run(life())

    def retriever(self, **more: Any) -> Retriever:
        """A handle that makes one attempt a call."""
        fixed = {"k": len(PASSAGES), "num_retries": 0, "breaker": False, "embedder": self.embedder()}
        return Retriever(self.spec().name, **{**fixed, **self.options, **more})

    # The contract: what is found

    def test_what_was_added_is_found_best_first(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            assert await retriever.aadd(PASSAGES) == [passage.id for passage in PASSAGES]
            for passage in PASSAGES:
                found = await retriever.acall(passage.text)
                assert found, f"nothing is found for the text of {passage.id}"
                assert found[0].id == passage.id, f"{found[0].text!r} is found for {passage.text!r}"
                values = [one.score for one in found]
                assert values == sorted(values, reverse=True), f"scores rise: {values}"
                assert len({one.id for one in found}) == len(found), "one passage twice"

        self.live(work, self.at(tmp_path))

    def test_at_most_k_come_and_fewer_where_there_are_fewer(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            for k in (1, 2, len(PASSAGES), 50):
                found = await retriever.acall(SHARED, k)
                assert len(found) == min(k, len(PASSAGES)), f"{len(found)} for k={k}"

        self.live(work, self.at(tmp_path))

    def test_passages_come_back_as_they_were(self, tmp_path: Path) -> None:
        passages = PASSAGES + ODD
        given = copy.deepcopy(passages)

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(given)
            found = {one.id: one for one in await retriever.acall(SHARED, len(passages))}
            assert given == passages, "what it was given is changed in place"
            for passage in passages:
                assert passage.id in found, f"{passage.id!r:.60} is not found"
                came = found[passage.id]
                assert came.text == passage.text
                assert repr(dict(came.metadata)) == repr(dict(passage.metadata))

        self.live(work, self.at(tmp_path))

    def test_conditions_narrow_a_search(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            for name, where in CONDITIONS.items():
                found = await retriever.acall(SHARED, where=where)
                check_narrowed(name, where, found, PASSAGES)
            best = await retriever.acall(PASSAGES[0].text, 1, where={"kind": "food"})
            assert ids(best) == ["4"], "of the best, those that remain; not the best of those that remain"

        self.live(work, self.at(tmp_path))

    def test_fields_may_have_any_name(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(ODD)
            for where in ODD_CONDITIONS:
                found = await retriever.acall(SHARED, where=where)
                check_narrowed(str(where), where, found, ODD)

        self.live(work, self.at(tmp_path))

    def test_a_list_of_queries_gives_what_each_gives(self, tmp_path: Path) -> None:
        queries = [passage.text for passage in PASSAGES[::-1]]

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            narrowed: tuple[Mapping[str, Any] | None, ...] = (None, {"kind": ["city", "animal"]})
            for where in narrowed:
                together = await retriever.acall(queries, 2, where=where)
                apart = [await retriever.acall(query, 2, where=where) for query in queries]
                # Of those that are equally near, any may come.
                assert [ids(found[:1]) for found in together] == [ids(found[:1]) for found in apart]
                assert [scores(found) for found in together] == [scores(found) for found in apart]
            assert await retriever.acall([]) == []

        self.live(work, self.at(tmp_path))

    def test_an_empty_index_gives_nothing(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            assert await retriever.acall(SHARED) == []
            assert await retriever.acall([SHARED, "other"], where={"kind": "city"}) == [[], []]
            await retriever.aadd([])
            await retriever.adelete([])
            assert await retriever.acall(SHARED) == []

        self.live(work, self.at(tmp_path))

    def test_odd_queries_are_answered_or_refused_and_harm_no_other(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            for query in ODD_QUERIES:
                try:
                    found = await retriever.acall(query)
                except (InputError, RetrieverError):
                    continue
                assert len(found) <= len(PASSAGES)
            assert ids(await retriever.acall(PASSAGES[2].text, 1)) == ["2"]

        self.live(work, self.at(tmp_path))

    # What changes

    def test_one_that_is_added_again_replaces_itself(self, tmp_path: Path) -> None:
        after = Passage(f"Bread is made of lava {SHARED}", id="5", metadata={"kind": "joke"})

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.aadd([Passage(f"first {SHARED}", id="5"), after])
            found = await retriever.acall(SHARED, 50)
            assert sorted(ids(found)) == sorted(ids(PASSAGES)), "it stands there twice"
            [one] = [passage for passage in found if passage.id == "5"]
            assert (one.text, dict(one.metadata)) == (after.text, after.metadata)
            assert ids(await retriever.acall(SHARED, where={"kind": "joke"})) == ["5"]

        self.live(work, self.at(tmp_path))

    def test_what_is_deleted_is_gone(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.adelete(["0", "3", "never there"])
            await retriever.adelete(["0"])
            assert sorted(ids(await retriever.acall(SHARED, 50))) == ["1", "2", "4", "5"]
            assert ids(await retriever.acall(SHARED, where={"kind": "city"})) == ["1"]
            await retriever.adelete(ids(PASSAGES))
            assert await retriever.acall(SHARED) == []
            await retriever.aadd(PASSAGES[:2])
            assert sorted(ids(await retriever.acall(SHARED))) == ["0", "1"]

        self.live(work, self.at(tmp_path))

    def test_the_next_app_finds_what_was_added(self, tmp_path: Path) -> None:
        place = self.at(tmp_path)

        async def first(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.adelete(["1"])

        async def second(retriever: Retriever) -> None:
            found = await retriever.acall(SHARED, 50)
            kept = {passage.id: passage.metadata for passage in PASSAGES if passage.id != "1"}
            assert {one.id: one.metadata for one in found} == (kept if self.survives else {})
            await retriever.aadd([PASSAGES[1]])
            assert ids(await retriever.acall(PASSAGES[1].text, 1)) == ["1"]

        self.live(first, place)
        self.live(second, place)

    def test_what_was_saved_is_opened_elsewhere(self, tmp_path: Path) -> None:
        path = tmp_path / "saved" / "index"

        async def first(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.adelete(["1"])
            await retriever.asave(str(path))
            await retriever.aadd([Passage(f"later {SHARED}", id="later")])
            await retriever.asave(str(path))

        async def second(retriever: Retriever) -> None:
            found = await retriever.acall(SHARED, 50)
            assert sorted(ids(found)) == ["0", "2", "3", "4", "5", "later"]
            assert ids(await retriever.acall(PASSAGES[2].text, 1, where={"kind": "animal"})) == ["2"]
            await retriever.aadd([PASSAGES[1]])
            await retriever.adelete(["later", "0"])
            assert sorted(ids(await retriever.acall(SHARED, 50))) == ["1", "2", "3", "4", "5"]

        if self.saves:
            self.live(first, self.at(tmp_path / "first"))
            self.live(second, self.loaded(path))

    def test_what_is_saved_is_whole_while_several_save_there(self, tmp_path: Path) -> None:
        path = tmp_path / "saved" / "index"

        async def opened(retriever: Retriever) -> None:
            assert sorted(ids(await retriever.acall(SHARED, 50))) == sorted(ids(PASSAGES))

        async def saving(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.asave(str(path))
            for _ in range(8):
                saves = [retriever.asave(str(path)) for _ in range(4)]
                await asyncio.gather(asyncio.to_thread(self.live, opened, self.loaded(path)), *saves)
            await asyncio.to_thread(self.live, opened, self.loaded(path))

        if self.saves:
            self.live(saving, self.at(tmp_path / "first"))

    # Who asks, and how it ends

    def test_it_is_used_from_several_loops_and_threads_at_once(self, tmp_path: Path) -> None:
        async def client(retriever: Retriever, number: int) -> None:
            for turn in range(4):
                own = Passage(f"client{number} turn{turn} {SHARED}", id=f"{number}.{turn}", metadata={"by": number})
                await retriever.aadd([own])
                assert ids(await retriever.acall(own.text, 1)) == [own.id]
            await retriever.adelete([f"{number}.0"])

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)

            def serve(number: int) -> None:
                asyncio.run(client(retriever, number))

            # All, also where one fails: the App must not end under their loops.
            works = (asyncio.to_thread(serve, number) for number in range(4))
            for end in await asyncio.gather(*works, return_exceptions=True):
                if isinstance(end, BaseException):
                    raise end
            assert len(await retriever.acall(SHARED, 50)) == len(PASSAGES) + 4 * 3
            for number in range(4):
                assert len(await retriever.acall(SHARED, 50, where={"by": number})) == 3

        self.live(work, self.at(tmp_path))

    def test_cancelled_work_ends_at_once_and_leaves_whole_passages(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            more = [Passage(f"more number{number} {SHARED}", id=f"more{number}") for number in range(20)]
            for turns in range(4):
                for doing in (retriever.acall(SHARED), retriever.aadd(more)):
                    task = asyncio.ensure_future(doing)
                    for _ in range(turns):
                        await asyncio.sleep(0)
                    task.cancel()
                    done, _ = await asyncio.wait([task], timeout=self.soon_s)
                    assert done, f"cancelled in turn {turns}, it went on"
            await retriever.aadd(more)
            found = {one.id: one.text for one in await retriever.acall(SHARED, 100)}
            assert found == {one.id: one.text for one in (*PASSAGES, *more)}

        assert not self.live(work, self.at(tmp_path)), "tasks go on behind cancelled calls"

    def test_its_work_is_done_beside_the_loop(self, tmp_path: Path) -> None:
        many = [
            Passage(f"number{number} of many {SHARED}", id=f"many{number}", metadata={"n": number})
            for number in range(500)
        ]

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)  # the first call loads what it needs
            await retriever.acall(SHARED)
            began = time.thread_time()
            await retriever.aadd(many)
            await retriever.acall([one.text for one in many[:20]], 10, where={"n": {"lt": 400}})
            held = time.thread_time() - began
            assert held <= self.most_held_s, f"it took {held:.2f} CPU seconds of the loop's own thread"
            waited = await holder(lambda: retriever.acall(SHARED, 10))
            assert not waited, waited

        self.live(work, self.at(tmp_path))

    def test_a_forked_child_searches_and_so_does_its_parent(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.acall(SHARED)

            async def child() -> LMResponse:
                assert ids(await retriever.acall(PASSAGES[2].text, 1)) == ["2"]
                return LMResponse.from_text("found")

            code = await asyncio.to_thread(ended, forked(child), self.limit_s / 2)
            assert code == 0, "the child failed"
            assert ids(await retriever.acall(PASSAGES[3].text, 1)) == ["3"]

        if self.forks:
            self.live(work, self.at(tmp_path))

    def test_its_app_lets_it_go_and_nothing_of_it_is_left(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            await retriever.acall(SHARED)

        before = set(threading.enumerate())
        assert not self.live(work, self.at(tmp_path)), "tasks go on"
        end = time.monotonic() + self.soon_s
        while left := [one.name for one in threading.enumerate() if one not in before]:
            assert time.monotonic() < end, f"threads live on: {left}"
            time.sleep(0.01)

    def test_it_can_be_let_go_before_its_first_call(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            provider = retriever.service.provider
            close: Callable[[], Awaitable[None]] | None = getattr(provider, "aclose", None)
            if close is not None:
                await close()

        self.live(work, self.at(tmp_path))

    def test_it_can_be_let_go_twice_and_is_there_again_when_it_is_used(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            close: Callable[[], Awaitable[None]] | None = getattr(retriever.service.provider, "aclose", None)
            if close is not None:
                await close()
                await close()
            await retriever.aadd(PASSAGES[:1])
            assert ids(await retriever.acall(PASSAGES[0].text, 1)) == ["0"]

        self.live(work, self.at(tmp_path))

    # What is wrong

    def test_a_storage_that_cannot_be_used_is_told(self, tmp_path: Path) -> None:
        place = self.broken(tmp_path)

        async def work(retriever: Retriever) -> None:
            for doing in (retriever.aadd(PASSAGES), retriever.acall(SHARED)):
                assert await refusal(doing), "work on it seems to go well"

        if place is not None:
            self.live(work, place)

    def test_a_retriever_by_vectors_says_that_it_needs_an_embedder(self, tmp_path: Path) -> None:
        async def work(retriever: Retriever) -> None:
            said = await refusal(retriever.acall(SHARED))
            assert said, "it searches without vectors"
            assert "embedder=" in said

        if self.embedder() is not None:
            self.live(work, self.at(tmp_path), embedder=None)

    def test_vectors_of_another_length_are_refused_and_harm_nothing(self, tmp_path: Path) -> None:
        lengths = [DIM]

        async def work(retriever: Retriever) -> None:
            await retriever.aadd(PASSAGES)
            lengths[0] = DIM // 2
            for doing in (retriever.aadd([Passage("other", id="other")]), retriever.acall(SHARED)):
                said = await refusal(doing)
                assert said, "vectors of another length are taken"
                assert str(DIM // 2) in said, f"it does not say how long they are: {said}"
            lengths[0] = DIM
            assert sorted(ids(await retriever.acall(SHARED))) == sorted(ids(PASSAGES))

        if self.embedder() is not None:
            changing = Embedder(lambda texts: [row[: lengths[0]] for row in hashed_words(texts)])
            self.live(work, self.at(tmp_path), embedder=changing)


async def refusal(doing: Awaitable[Any]) -> str:
    """How it was refused; empty for what was done."""
    try:
        await doing
    except (ConfigurationError, RetrieverError) as error:
        return str(error)
    return ""


def check_narrowed(name: str, where: Mapping[str, Any], found: Sequence[Passage], passages: Sequence[Passage]) -> None:
    """Exactly those came for which the conditions hold."""
    wanted = sorted(one.id for one in passages if all_hold(conditions(where), one.metadata))
    assert sorted(ids(found)) == wanted, f"{name}: {where} gave {sorted(ids(found))}, not {wanted}"


def ids(passages: Sequence[Passage]) -> list[str]:
    """Their ids, in order."""
    return [passage.id for passage in passages]


def scores(passages: Sequence[Passage]) -> list[float]:
    """Their scores, in order, to some digits: sums in another order differ in the last ones."""
    return [round(passage.score, 3) for passage in passages]


def hashed_words(texts: Sequence[str]) -> list[list[float]]:
    """Vectors without a model: counts of hashed words, all of one length."""
    return [_row(text) for text in texts]


def _row(text: str) -> list[float]:
    counts = [0.01] * DIM
    for word in re.findall(r"\w+", text.lower()):
        counts[zlib.crc32(word.encode("utf-8", "surrogatepass")) % DIM] += 1.0
    length = sum(value * value for value in counts) ** 0.5
    return [value / length for value in counts]
