"""What an index by words holds to beyond the kit."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from bm25s import BM25

import dspex
from dspex.plugin import Condition, Passage
from dspex_bm25 import folder
from dspex_bm25.index import Index
from dspex_bm25.options import BM25Options
from dspex_bm25.words import words

OPTIONS = BM25Options()
WORDS = [f"word{number}" for number in range(2000)]


def texts(count, seed=0, length=20):
    rng = random.Random(seed)
    weights = [1 / (10 + place) for place in range(len(WORDS))]
    return [" ".join(rng.choices(WORDS, weights, k=length)) for _ in range(count)]


def filled(some, options=OPTIONS):
    index = Index(options)
    index.add([Passage(text, id=str(place), metadata={"n": place}) for place, text in enumerate(some)])
    return index


def library(some):
    scorer = BM25(backend="numpy", auto_compile=False)
    scorer.index([words(text) for text in some], show_progress=False)
    return scorer


def ids(found):
    return [passage.id for passage in found]


# It is right


@pytest.mark.parametrize("seed", range(3))
def test_scores_are_those_of_the_library_whatever_was_changed_before(seed):
    rng = random.Random(seed)
    some, index = texts(400, seed), Index(OPTIONS)
    kept = {}
    for place, text in enumerate(some):
        index.add([Passage(text, id=str(place % 350))])
        kept.pop(str(place % 350), None)
        kept[str(place % 350)] = text
        if place % 97 == 0:
            index.search(["word1"], 3, ())
    gone = rng.sample(sorted(kept), 100)
    index.delete(gone)
    for name in gone:
        del kept[name]
    scorer = library(list(kept.values()))
    for query in texts(20, seed + 100, length=5):
        found = index.search([query], 10, ())[0]
        _, scores = scorer.retrieve([words(query)], k=10, show_progress=False)
        assert [one.score for one in found] == pytest.approx(
            [score for score in scores[0].tolist() if score > 0], rel=1e-5
        )
        assert all(one.text == kept[one.id] for one in found)


def test_what_is_gone_is_left_out_at_once_and_counts_no_more_when_many_are():
    some = texts(200)
    index = filled(some)
    before = index.built()
    first = index.search([some[7]], 1, ())[0][0]
    index.delete([first.id])
    assert first.id not in ids(index.search([some[7]], 200, ())[0])
    assert index.built() is before
    index.delete([str(number) for number in range(100)])
    assert index.built() is not before
    assert len(index.built().passages) == len(index)


def test_a_passage_without_words_is_never_found_and_harms_none():
    index = filled(["", "  ?!", "word"])
    assert ids(index.search(["word"], 9, ())[0]) == ["2"]
    assert Index(OPTIONS).search(["word"], 9, ()) == [[]]
    assert filled(["", "?"]).search(["word", ""], 9, ()) == [[], []]


def test_of_equal_ones_the_earlier_come_first():
    for count in (3, 50):
        assert ids(filled(["same text"] * count).search(["same"], 3, ())[0]) == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Don't STOP-me, now 2.5!", ["don", "t", "stop", "me", "now", "2", "5"]),
        ("Straße ÉTÉ", ["strasse", "été"]),
        ("東京タワー is tall", ["東", "京", "タ", "ワ", "ー", "is", "tall"]),
        ("", []),
    ],
    ids=str,
)
def test_words_are_what_stands_between_spaces_and_signs(text, found):
    assert words(text) == found


def test_stopwords_are_left_out_of_passages_and_queries():
    index = filled(["the cat", "the dog"], BM25Options(stopwords=("The",)))
    assert index.search(["the"], 9, ()) == [[]]
    assert ids(index.search(["THE CAT"], 9, ())[0]) == ["0"]


def test_it_is_searched_while_it_grows():
    index, wrong, done = filled(texts(50)), [], threading.Event()
    index.add([Passage("needle in hay", id="needle")])

    def look():
        while not done.is_set():
            if ids(index.search(["needle"], 1, ())[0]) != ["needle"]:
                wrong.append("lost")

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for place in range(60):
        index.add([Passage("hay hay", id=f"hay{place}")])
        index.delete([f"hay{place - 1}"])
        assert len(index.search(["hay"], 99, (Condition("n", "in", (1,)),))[0]) == 0
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert ids(index.search(["hay"], 9, ())[0]) == ["hay59", "needle"]


# It is quick


def test_a_search_takes_no_more_than_a_tenth_above_the_library():
    some = texts(20_000)
    index, scorer = filled(some), library(some)
    index.built()
    rounds = (timed(index, scorer, texts(200, seed, length=6)) for seed in range(7, 12))
    # The machine's other work is none of the index's: the quick half of a round tells, and the first round that is in the limit.
    assert any(sum(sorted(ours)[:100]) <= 1.10 * sum(sorted(theirs)[:100]) for ours, theirs in rounds)


def timed(index, scorer, queries):
    """Seconds of each query here, and by the library itself."""
    ours, theirs = [], []
    for query in queries:
        began = time.thread_time()
        scorer.retrieve([words(query)], k=10, show_progress=False)
        between = time.thread_time()
        index.search([query], 10, ())
        theirs.append(between - began)
        ours.append(time.thread_time() - between)
    return ours, theirs


# Its folder


def test_what_is_opened_is_mapped_and_can_be_changed(tmp_path):
    some = texts(300)
    index = filled(some)
    index.delete(["3"])
    folder.save(index, tmp_path / "index", OPTIONS)
    opened = folder.open_index(tmp_path / "index", OPTIONS)
    assert type(opened.built().scorer.scores["data"]).__name__ == "memmap"
    assert opened.search([some[17]], 5, ()) == filled_without(some, 3).search([some[17]], 5, ())
    opened.add([Passage("entirely new", id="new")])
    opened.delete(["17"])
    assert ids(opened.search(["entirely"], 5, ())[0]) == ["new"]
    assert "17" not in ids(opened.search([some[17]], 5, ())[0])


def filled_without(some, place):
    index = Index(OPTIONS)
    index.add([Passage(text, id=str(n), metadata={"n": n}) for n, text in enumerate(some) if n != place])
    return index


def test_its_files_are_the_users_own_and_no_old_ones_stay(tmp_path):
    path = tmp_path / "deep" / "index"
    for _ in range(2):
        folder.save(filled(texts(20)), path, OPTIONS)
    [state, head] = sorted(path.iterdir(), key=lambda one: one.name == "index.json")
    assert (head.name, len(state.name)) == ("index.json", 16)
    files = [head, *state.iterdir()]
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}


KILLED = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_index import OPTIONS, filled, folder, texts
index = filled(texts(50))
index.built()
left = int(sys.argv[2])
def killed(event, arguments):
    global left
    if event in ("open", "os.mkdir", "os.rename") and sys.argv[1] in str(arguments[0]):
        left -= 1
        if left < 0:
            os._exit(9)
sys.addaudithook(killed)
folder.save(index, Path(sys.argv[1]), OPTIONS)
"""


@pytest.mark.parametrize("steps", range(0, 14, 2))
def test_a_save_that_is_killed_leaves_the_state_before_it_or_the_new_one(tmp_path, steps):
    path = tmp_path / "index"
    folder.save(filled(texts(30)), path, OPTIONS)
    here = str(Path(__file__).parent)
    done = subprocess.run([sys.executable, "-c", KILLED, str(path), str(steps), here], check=False)
    assert len(folder.open_index(path, OPTIONS)) in ((30, 50) if done.returncode == 9 else (50,))
    folder.save(filled(texts(10)), path, OPTIONS)
    assert len(list(path.iterdir())) == 2


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "index.json").write_text("{"), "damaged"),
        (lambda path: _state(path, "passages.jsonl").write_text('{"text": "a"}\n'), "do not belong together"),
        (lambda path: _state(path, "passages.jsonl").write_text("[1]\n" * 20), "damaged"),
        (lambda path: _state(path, "vocabulary.json").write_text('["a", "a"]'), "do not belong together"),
        (lambda path: _state(path, "data.csc.index.npy").write_bytes(b"half"), "damaged"),
        (lambda path: _state(path, "params.index.json").unlink(), "damaged"),
        (lambda path: _change(path, version=2), "this package reads dspex-bm25 1"),
    ],
    ids=["torn head", "passages", "foreign", "vocabulary", "scores", "missing", "version"],
)
def test_a_folder_that_cannot_be_used_is_told(tmp_path, damage, message):
    folder.save(filled(texts(20)), tmp_path / "index", OPTIONS)
    damage(tmp_path / "index")
    with pytest.raises(dspex.RetrieverError, match=message):
        folder.open_index(tmp_path / "index", OPTIONS)


def _state(path, name):
    [found] = path.glob(f"*/{name}")
    return found


def _change(path, **fields):
    head = json.loads((path / "index.json").read_text())
    (path / "index.json").write_text(json.dumps({**head, **fields}))


def test_an_index_of_other_options_is_refused(tmp_path):
    folder.save(filled(texts(20)), tmp_path / "index", OPTIONS)
    with pytest.raises(dspex.RetrieverError, match="was made with other options"):
        folder.open_index(tmp_path / "index", BM25Options(k1=2.0))


def test_nothing_is_written_where_it_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(dspex.RetrieverError, match="cannot be written"):
        folder.save(filled(["a"]), tmp_path / "file" / "index", OPTIONS)


def test_who_changes_what_was_found_changes_no_index():
    index = Index(OPTIONS)
    index.add([Passage("a", id="x", metadata={"n": 1})])
    index.search(["a"], 1, ())[0][0].metadata["n"] = 2
    assert index.search(["a"], 1, ())[0][0].metadata == {"n": 1}


def test_an_empty_index_is_saved_too(tmp_path):
    folder.save(Index(OPTIONS), tmp_path / "index", OPTIONS)
    assert len(folder.open_index(tmp_path / "index", OPTIONS)) == 0


# Its options


@pytest.mark.parametrize(
    "options", [{"b": 2}, {"k1": -1}, {"method": "other"}, {"stopwords": "the"}, {"colection": "x"}], ids=repr
)
def test_options_that_cannot_be_meant_are_refused(options):
    from dspex_bm25.provider import BM25Provider

    with pytest.raises(dspex.ConfigurationError, match=next(iter(options))):
        BM25Provider(options)


def test_collections_are_apart_and_equal_handles_share_one():
    dspex.Retriever("bm25", collection="one").add(["word"])
    assert [passage.text for passage in dspex.Retriever("bm25", collection="one")("word")] == ["word"]
    assert dspex.Retriever("bm25", collection="other")("word") == []


def test_nothing_is_said_on_the_way():
    program = "import dspex; r = dspex.Retriever('bm25'); r.add(['a b', 'c']); print(r('b')[0].text)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=os.environ)
    assert (done.stdout, done.stderr) == ("a b\n", "")
