"""What searches in the process cost beside the libraries alone, and what a search costs through a handle.

python benchmarks/bench_retrieval.py [vectors | bm25 | graph | million | minilm ...]

CPU time of the calling thread; BLAS is kept to one thread, as its others burn time while they wait.
"""

import asyncio
import os
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

import dspex

DIM = 384
TEXT = "A passage of about one hundred letters, as the pieces are that documents are cut into, with number"
VOCABULARY = [f"word{number}" for number in range(20_000)]
WEIGHTS = [1 / (10 + place) for place in range(len(VOCABULARY))]


def compared(name: str, raw: Callable[[Any], Any], ours: Callable[[Any], Any], queries: Any) -> None:
    """One line: medians in milliseconds, and their ratio; both are run in turn, so that the machine's other work meets both."""
    alone: list[float] = []
    through: list[float] = []
    for number, query in enumerate(queries):
        # Whoever is second finds less of its own in the processor's cache.
        both = [(raw, alone), (ours, through)]
        for work, times in both if number % 2 else both[::-1]:
            began = time.thread_time()
            work(query)
            times.append((time.thread_time() - began) * 1000)
    one, other = statistics.median(alone), statistics.median(through)
    print(f"{name:<34}{one:9.3f}{other:9.3f}{other / one:8.2f}")


def numbered(count: int) -> list[dspex.Passage]:
    return [dspex.Passage("text", id=str(number)) for number in range(count)]


def vectors() -> None:
    from dspex_vectors.index import Index
    from dspex_vectors.options import VectorsOptions

    rng = np.random.default_rng(0)
    for count in (1_000, 10_000, 100_000, 400_000):
        matrix = rng.standard_normal((count, DIM), dtype=np.float32)
        matrix /= np.linalg.norm(matrix, axis=1, keepdims=True)
        index = Index(VectorsOptions(approximate_from=None))
        passages = numbered(count)
        for first in range(0, count, 4096):
            index.add(passages[first : first + 4096], matrix[first : first + 4096])

        texts, ids = [passage.text for passage in passages], [passage.id for passage in passages]

        def raw(query: Any, matrix: Any = matrix, texts: Any = texts, ids: Any = ids) -> Any:
            scores = matrix @ (query / np.linalg.norm(query))
            best = np.argpartition(scores, len(scores) - 10)[-10:]
            best = best[np.argsort(-scores[best])]
            # Whoever searches wants to know what was found: of each its id, its text and its score.
            return [
                (ids[place], texts[place], score)
                for place, score in zip(best.tolist(), scores[best].tolist(), strict=True)
            ]

        queries = rng.standard_normal((max(20, 2_000_000 // count), DIM), dtype=np.float32)
        compared(
            f"vectors, {count} x {DIM}, beside numpy",
            raw,
            lambda query, index=index: index.search(query[None], 10, ()),
            queries,
        )


def bm25() -> None:
    from bm25s import BM25

    from dspex_bm25.index import Index
    from dspex_bm25.options import BM25Options
    from dspex_bm25.words import words

    rng = random.Random(0)
    for count in (1_000, 20_000, 200_000):
        flat = rng.choices(VOCABULARY, WEIGHTS, k=count * 40)
        texts = [" ".join(flat[place * 40 : place * 40 + 40]) for place in range(count)]
        library = BM25(backend="numpy", auto_compile=False)
        library.index([words(text) for text in texts], show_progress=False)
        index = Index(BM25Options())
        index.add([dspex.Passage(text, id=str(place)) for place, text in enumerate(texts)])
        index.built()
        queries = [" ".join(rng.choices(VOCABULARY, WEIGHTS, k=6)) for _ in range(200)]
        compared(
            f"bm25, {count} passages, beside bm25s",
            lambda query, library=library: library.retrieve([words(query)], k=10, show_progress=False),
            lambda query, index=index: index.search([query], 10, ()),
            queries,
        )


def graph() -> None:
    from dspex_vectors.index import Index
    from dspex_vectors.options import VectorsOptions
    from dspex_vectors.rows import normalized

    rng, count = np.random.default_rng(0), 50_000
    plane = rng.standard_normal((32, DIM), dtype=np.float32)
    centres = rng.standard_normal((200, 32), dtype=np.float32)

    def clustered(many: int) -> Any:
        spots = centres[rng.integers(0, 200, many)] + rng.standard_normal((many, 32), dtype=np.float32)
        return normalized(spots @ plane + 0.3 * rng.standard_normal((many, DIM), dtype=np.float32))

    index, matrix, passages = Index(VectorsOptions(approximate_from=1)), clustered(count), numbered(count)
    began = time.process_time()
    for first in range(0, count, 4096):
        index.add(passages[first : first + 4096], matrix[first : first + 4096])
    print(f"graph, {count} x {DIM}: built in {time.process_time() - began:.1f} s of CPU")
    queries, now = clustered(64), index.snapshot()
    assert now is not None
    found = [{int(place) for place in now.best(query[None], 10, ())[0][0]} for query in queries]
    exact = [{int(place) for place in now.view.best(query[None], 10)[0][0]} for query in queries]
    hits = sum(len(one & other) for one, other in zip(found, exact, strict=True))
    print(f"graph: recall of the best ten {hits / 640:.3f}")
    compared(
        "graph, beside exact",
        lambda query: now.view.best(query[None], 10),
        lambda query: index.search(query[None], 10, ()),
        queries,
    )


def million() -> None:
    from dspex_vectors.index import Index
    from dspex_vectors.options import VectorsOptions

    some = np.random.default_rng(0).standard_normal((1_000, DIM), dtype=np.float32)
    index = Index(VectorsOptions(approximate_from=None))
    began = time.perf_counter()
    for first in range(0, 1_000_000, 1_000):
        numbers = range(first, first + 1_000)
        passages = [dspex.Passage(f"{TEXT} {number}", id=str(number), metadata={"n": number}) for number in numbers]
        index.add(passages, np.roll(some, first // 1_000, axis=1))
    added = time.perf_counter() - began
    began = time.perf_counter()
    index.search(some[:1], 10, ())
    one = time.perf_counter() - began
    began = time.perf_counter()
    index.search(some[:64], 10, ())
    each = (time.perf_counter() - began) / 64
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(f"million: added in {added:.1f} s, a search {one:.2f} s, in a list of 64 {each:.3f} s, at most {peak:.2f} GB")


def minilm() -> None:
    from dspex.plugin import Endpoint
    from dspex_minilm.provider import MiniLMProvider

    async def main() -> None:
        provider = MiniLMProvider(Endpoint("minilm", "all-MiniLM-L6-v2"), None)
        began = time.perf_counter()
        await provider.embed(["first"])
        print(f"minilm: loaded in {time.perf_counter() - began:.2f} s")
        words = "river stone walked house after green".split()
        for count in (12, 60, 200):
            texts = [" ".join((words * 40)[place % 6 : place % 6 + count]) for place in range(64)]
            began = time.process_time()
            await provider.embed(texts)
            between = time.process_time()
            for text in texts[:10]:
                await provider.embed([text])
            ended = time.process_time()
            alone, among = (ended - between) * 100, (between - began) / 64 * 1000
            print(f"minilm, {count} words: {among:.1f} ms of CPU among 64, {alone:.1f} ms alone")
        await provider.aclose()

    asyncio.run(main())


def handle() -> None:
    async def main() -> None:
        async with dspex.App():
            embedder = dspex.Embedder(lambda texts: [[float(len(text)), 1.0] for text in texts])
            for name, options in (("vectors", {"embedder": embedder}), ("bm25", {})):
                retriever = dspex.Retriever(name, **options)
                await retriever.aadd(["one word", "two words"])
                await retriever.acall("word")
                began = time.process_time()
                for _ in range(500):
                    await retriever.acall("word")
                print(f"{name}: a search through a handle {(time.process_time() - began) * 2:.2f} ms of CPU")

    asyncio.run(main())


# The one whose memory counts is the first.
PARTS = {
    "million": million,
    "vectors": vectors,
    "bm25": bm25,
    "handle": handle,
    "minilm": minilm,
    "graph": graph,
}

if __name__ == "__main__":
    print(f"{'milliseconds, median':<34}{'alone':>9}{'dspex':>9}{'ratio':>8}")
    for part in sys.argv[1:] or PARTS:
        PARTS[part]()
