"""The kit for retrievers: a good one passes all of it, and each kind of bad one fails the test that is about it."""

import asyncio
import json
import os
import secrets
import threading
import time
from pathlib import Path

import msgspec
import pytest

import dspex
from dspex.plugin import Passage, all_hold
from dspex.testing import RetrieverContract

TESTS = [name for name in vars(RetrieverContract) if name.startswith("test_")]


class Options(msgspec.Struct):
    path: str | None = None


class Good:
    """Vectors in a dict, written to a file at each change where there is one."""

    def __init__(self, options, http, embedder):
        if embedder is None:
            raise dspex.ConfigurationError("It needs embedder=.")
        self.embedder = embedder
        self.path = Path(options["path"]) if options.get("path") else None
        self.kept = {}
        self.read()

    def read(self):
        if self.path and self.path.is_file():
            for entry in json.loads(self.path.read_text()):
                self.kept[entry["id"]] = Passage(entry["text"], 0.0, entry["id"], entry["metadata"]), entry["row"]

    def write(self, path):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            entries = [
                {"id": p.id, "text": p.text, "metadata": p.metadata, "row": row} for p, row in self.kept.values()
            ]
            self.put(path, json.dumps(entries))
        except OSError as error:
            raise dspex.RetrieverError(f"{path}: {error}") from error

    def put(self, path, text):
        made = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        made.write_text(text)
        made.replace(path)

    async def rows(self, texts):
        vectors = await self.embedder.embed(texts)
        known = next((len(row) for _, row in self.kept.values()), vectors.dim)
        if texts and vectors.dim != known:
            raise dspex.RetrieverError(f"Vectors of {vectors.dim} values, not {known}.")
        return [list(row) for row in vectors]

    async def add(self, passages):
        rows = await self.rows([passage.text for passage in passages])
        for passage, row in zip(passages, rows, strict=True):
            self.kept[passage.id] = passage, row
        if self.path:
            self.write(self.path)

    async def delete(self, ids):
        for one in ids:
            self.kept.pop(one, None)
        if self.path:
            self.write(self.path)

    async def save(self, path):
        self.write(Path(path))

    async def retrieve(self, query, k):
        return (await self.search([query], k, ()))[0]

    async def search(self, queries, k, where):
        rows = await self.rows(queries)
        if self.path and self.path.is_dir():
            raise dspex.RetrieverError(f"{self.path} is a folder.")
        return [self.best(row, k, where) for row in rows]

    def best(self, row, k, where):
        found = [
            msgspec.structs.replace(passage, score=sum(map(float.__mul__, row, own)))
            for passage, own in list(self.kept.values())
            if all_hold(where, passage.metadata)
        ]
        return sorted(found, key=lambda passage: -passage.score)[:k]

    async def aclose(self):
        pass


class WorstFirst(Good):
    def best(self, row, k, where):
        return super().best(row, 1000, where)[::-1][:k]


class OneTwice(Good):
    def best(self, row, k, where):
        return [one for one in super().best(row, k, where) for _ in range(2)]


class OneFewer(Good):
    def best(self, row, k, where):
        return super().best(row, max(1, k - 1), where)


class FlattensMetadata(Good):
    def best(self, row, k, where):
        found = super().best(row, k, where)
        return [
            msgspec.structs.replace(one, metadata={name: str(value) for name, value in one.metadata.items()})
            for one in found
        ]


class CutsIds(Good):
    async def add(self, passages):
        await super().add([msgspec.structs.replace(one, id=one.id[:100]) for one in passages])


class CannotNarrow(Good):
    async def search(self, queries, k, where):
        return await super().search(queries, k, ())


class NarrowsAfterwards(Good):
    def best(self, row, k, where):
        return [one for one in super().best(row, k, ()) if all_hold(where, one.metadata)]


class ComparesAsPythonDoes(Good):
    def best(self, row, k, where):
        found = super().best(row, 1000, ())
        return [one for one in found if all(_loosely(each, one.metadata) for each in where)][:k]


def _loosely(condition, metadata):
    value = metadata.get(condition.field)
    return value in condition.values if condition.operator == "in" else condition.holds(value)


class TakesDotsForPaths(Good):
    def best(self, row, k, where):
        def value(metadata, path):
            for part in path.split("."):
                metadata = metadata.get(part) if isinstance(metadata, dict) else None
            return metadata

        found = super().best(row, 1000, ())
        return [one for one in found if all(c.holds(value(one.metadata, c.field)) for c in where)][:k]


class MixesUpQueries(Good):
    async def search(self, queries, k, where):
        return (await super().search(queries, k, where))[::-1]


class FailsWhileEmpty(Good):
    async def retrieve(self, query, k):
        if not self.kept:
            raise dspex.RetrieverError("nothing there")
        return await super().retrieve(query, k)


class BreaksAtNul(Good):
    async def retrieve(self, query, k):
        if "\0" in query:
            raise ValueError("embedded null character")
        return await super().retrieve(query, k)


class AddsTwice(Good):
    count = 0

    async def add(self, passages):
        rows = await self.rows([passage.text for passage in passages])
        for passage, row in zip(passages, rows, strict=True):
            self.count += 1
            self.kept[self.count] = passage, row


class DeletesNothing(Good):
    async def delete(self, ids):
        pass


class RaisesForAbsentIds(Good):
    async def delete(self, ids):
        for one in ids:
            del self.kept[one]


class Forgets(Good):
    def read(self):
        pass


class SavesOnce(Good):
    saved = None

    async def save(self, path):
        if self.saved is None:
            self.saved = path
            await super().save(path)


class WritesInPlace(Good):
    def put(self, path, text):
        path.write_text(text[: len(text) // 2])
        time.sleep(0.02)
        path.write_text(text)


class IsClosedForGood(Good):
    is_closed = False

    async def retrieve(self, query, k):
        assert not self.is_closed
        return await super().retrieve(query, k)

    async def aclose(self):
        self.is_closed = True


class BoundToOneLoop(Good):
    loop = None

    async def retrieve(self, query, k):
        self.loop = self.loop or asyncio.get_running_loop()
        assert self.loop is asyncio.get_running_loop()
        return await super().retrieve(query, k)


class SwallowsCancellation(Good):
    async def retrieve(self, query, k):
        for _ in range(50):
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return await super().retrieve(query, k)


class AddsHalves(Good):
    async def add(self, passages):
        for passage in passages:
            await asyncio.sleep(0)
            if passage.id not in self.kept:
                self.kept[passage.id] = msgspec.structs.replace(passage, text=""), [0.0] * 64
                await asyncio.sleep(0)
                await super().add([passage])


class HoldsTheLoop(Good):
    async def add(self, passages):
        end = time.thread_time() + 0.001 * len(passages)
        while time.thread_time() < end:
            pass
        await super().add(passages)


class WaitsOnTheLoop(Good):
    async def search(self, queries, k, where):
        time.sleep(0.2)  # noqa: ASYNC251  that is the fault
        return await super().search(queries, k, where)


class ChangesWhatItIsGiven(Good):
    async def add(self, passages):
        await super().add(passages)
        for passage in passages:
            passage.metadata["seen"] = True


class BoundToOneProcess(Good):
    pid = None

    async def retrieve(self, query, k):
        self.pid = self.pid or os.getpid()
        if self.pid != os.getpid():
            raise dspex.RetrieverError("a foreign process")
        return await super().retrieve(query, k)


class LeavesATaskBehind(Good):
    async def retrieve(self, query, k):
        self.task = asyncio.ensure_future(asyncio.sleep(3600))
        return await super().retrieve(query, k)


class LeavesAThreadBehind(Good):
    ends = []  # noqa: RUF012  the test ends what is left

    async def retrieve(self, query, k):
        end = threading.Event()
        self.ends.append(end)
        threading.Thread(target=end.wait, daemon=True).start()
        return await super().retrieve(query, k)


class CannotEndBeforeItBegan(Good):
    async def aclose(self):
        del self.never_made


class HidesItsStorage(Good):
    def read(self):
        pass

    def write(self, path):
        pass


class NeedsNoEmbedder(Good):
    def __init__(self, options, http, embedder):
        super().__init__(options, http, embedder or dspex.Embedder(lambda texts: [[1.0]] * len(texts)))


class TakesAnyLength(Good):
    async def rows(self, texts):
        return [list(row) for row in await self.embedder.embed(texts)]

    def best(self, row, k, where):
        return []


def kit(provider, **attributes):
    class Kit(RetrieverContract):
        survives = saves = True
        soon_s = 0.3

        def spec(self):
            return dspex.Spec("mine", provider, options=Options)

        def at(self, folder):
            return {"path": str(folder / "index.json")}

        def broken(self, folder):
            return {"path": str(folder)}  # a folder, and no file

    for name, value in attributes.items():
        setattr(Kit, name, value)
    return Kit()


@pytest.fixture(autouse=True)
def end_of_threads():
    yield
    while LeavesAThreadBehind.ends:
        LeavesAThreadBehind.ends.pop().set()


@pytest.mark.parametrize("name", TESTS)
def test_a_good_retriever_passes(name, tmp_path):
    getattr(kit(Good), name)(tmp_path)


@pytest.mark.parametrize(
    ("provider", "about"),
    [
        (WorstFirst, "best_first"),
        (OneTwice, "best_first"),
        (OneFewer, "at_most_k"),
        (FlattensMetadata, "come_back_as_they_were"),
        (CutsIds, "come_back_as_they_were"),
        (CannotNarrow, "conditions_narrow"),
        (NarrowsAfterwards, "conditions_narrow"),
        (ComparesAsPythonDoes, "conditions_narrow"),
        (TakesDotsForPaths, "any_name"),
        (MixesUpQueries, "list_of_queries"),
        (FailsWhileEmpty, "empty_index"),
        (BreaksAtNul, "odd_queries"),
        (AddsTwice, "replaces_itself"),
        (DeletesNothing, "deleted_is_gone"),
        (RaisesForAbsentIds, "deleted_is_gone"),
        (Forgets, "next_app"),
        (SavesOnce, "saved_is_opened"),
        (WritesInPlace, "several_save_there"),
        (IsClosedForGood, "let_go_twice"),
        (BoundToOneLoop, "several_loops"),
        (SwallowsCancellation, "cancelled_work"),
        (AddsHalves, "cancelled_work"),
        (LeavesATaskBehind, "cancelled_work"),
        (HoldsTheLoop, "beside_the_loop"),
        (WaitsOnTheLoop, "beside_the_loop"),
        (ChangesWhatItIsGiven, "come_back_as_they_were"),
        (BoundToOneProcess, "forked_child"),
        (LeavesATaskBehind, "nothing_of_it_is_left"),
        (LeavesAThreadBehind, "nothing_of_it_is_left"),
        (CannotEndBeforeItBegan, "before_its_first_call"),
        (HidesItsStorage, "storage_that_cannot"),
        (NeedsNoEmbedder, "needs_an_embedder"),
        (TakesAnyLength, "another_length"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
@pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning", "ignore:.*never awaited", "ignore:.*fork"
)
def test_each_fault_is_noticed(provider, about, tmp_path):
    [name] = [name for name in TESTS if about in name]
    with pytest.raises((AssertionError, AttributeError, dspex.DspexError, TimeoutError, RuntimeWarning)):
        getattr(kit(provider), name)(tmp_path)


def test_every_test_of_the_kit_can_fail():
    marks = [mark for mark in test_each_fault_is_noticed.pytestmark if mark.name == "parametrize"]
    abouts = [about for mark in marks for _, about in mark.args[1]]
    assert [name for name in TESTS if not any(about in name for about in abouts)] == []


def test_a_retriever_in_memory_forgets_and_that_is_well(tmp_path):
    kit(Forgets, survives=False, saves=False).test_the_next_app_finds_what_was_added(tmp_path)
    kit(BoundToOneProcess, forks=False).test_a_forked_child_searches_and_so_does_its_parent(tmp_path / "forked")
    kit(SavesOnce, saves=False).test_what_was_saved_is_opened_elsewhere(tmp_path)
