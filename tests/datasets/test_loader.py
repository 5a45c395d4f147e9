"""DSPy's DataLoader, tables of other packages, and how a dataset is divided."""

import sys
import textwrap

import pytest

from dspex import ConfigurationError, DatasetError, Example
from dspex.datasets import DataLoader, load_examples

ROWS = [{"question": "2+2?", "answer": 4}, {"question": "3+3?", "answer": 6}]
EXAMPLES = [Example(row) for row in ROWS]
HUNDRED = [Example(n=n) for n in range(100)]


@pytest.mark.parametrize(
    ("method", "content"),
    [
        ("from_csv", "question,answer\n2+2?,4\n3+3?,6\n"),
        ("from_json", '[{"question": "2+2?", "answer": "4"}, {"question": "3+3?", "answer": "6"}]'),
        ("from_json", '{"question": "2+2?", "answer": "4"}\n{"question": "3+3?", "answer": "6"}\n'),
    ],
)
def test_a_file_is_read_by_the_methods_name_and_not_by_its_own(tmp_path, method, content):
    path = tmp_path / "data"
    path.write_text(content)
    examples = getattr(DataLoader(), method)(str(path), fields=["question", "answer"], input_keys=("question",))
    assert [dict(example.inputs()) for example in examples] == [{"question": "2+2?"}, {"question": "3+3?"}]
    assert [example.labels().answer for example in examples] == ["4", "6"]


def test_a_list_of_rows_is_a_dataset_too():
    assert load_examples(ROWS, inputs=["question"]) == EXAMPLES
    assert load_examples(iter(EXAMPLES), types={"answer": str}) == [
        Example(question="2+2?", answer="4"),
        Example(question="3+3?", answer="6"),
    ]
    with pytest.raises(DatasetError, match="rows, row 2: there is no 'question'"):
        load_examples([*ROWS[:1], {"answer": 1}], inputs=["question"])


class Table:
    """What is asked of a DataFrame."""

    def to_dict(self, orient):
        assert orient == "records"
        return ROWS


def test_a_data_frame_gives_an_example_a_row():
    assert DataLoader().from_pandas(Table(), fields=["question"], input_keys=["question"]) == [
        Example(question="2+2?"),
        Example(question="3+3?"),
    ]


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Put a module in the place of a package that the tests do without."""

    def made(name, source):
        path = tmp_path.joinpath("packages", *name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True)
        if path.parent.name != "packages":
            path.with_name("__init__.py").touch()  # else the real package, where there is one, would go before
        path.write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path / "packages")
        for loaded in (name, name.split(".")[0]):
            monkeypatch.delitem(sys.modules, loaded, raising=False)

    return made


@pytest.mark.parametrize(
    ("split", "given"),
    [
        (None, {"train": EXAMPLES, "test": EXAMPLES[:1]}),
        ("train", EXAMPLES),
        (["test", "train"], {"test": EXAMPLES[:1], "train": EXAMPLES}),
    ],
    ids=["all", "one", "some"],
)
def test_datasets_of_the_hub_come_by_split(package, split, given):
    package(
        "datasets",
        f"""
        SPLITS = {{"train": {ROWS}, "test": {ROWS[:1]}}}

        class Dataset:
            def __init__(self, rows):
                self.rows = rows

            def __iter__(self):
                return iter(self.rows)

        def load_dataset(name, config, split=None):
            assert (name, config) == ("some/name", "main")
            if split is None:
                return {{name: Dataset(rows) for name, rows in SPLITS.items()}}
            return [Dataset(SPLITS[one]) for one in split] if isinstance(split, list) else Dataset(SPLITS[split])
        """,
    )
    assert DataLoader().from_huggingface("some/name", "main", split=split, input_keys=("question",)) == given


PARQUET = """
    class Group:
        def __init__(self, size, rows):
            self.total_byte_size, self.num_rows = size, rows

    class Metadata:
        def __init__(self, groups):
            self.num_row_groups, self.row_group = len(groups), groups.__getitem__

    class Batch:
        def __init__(self, rows):
            self.to_pylist = lambda: rows

    class ParquetFile:
        def __init__(self, path):
            text = path.read_text()
            if not text.startswith("PAR1"):
                raise ValueError("Parquet magic bytes not found in footer")
            self.metadata = Metadata([Group(*map(int, text.split()[1:]))])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def iter_batches(self, batch_size):
            yield Batch([{"question": "2+2?", "answer": 4}])
            yield Batch([{"question": "3+3?", "answer": 6}])
"""


def test_parquet_is_read_in_batches(package, tmp_path):
    package("pyarrow.parquet", PARQUET)
    path = tmp_path / "x.parquet"
    path.write_text("PAR1 100 2")
    assert DataLoader().from_parquet(path, input_keys=("question",)) == EXAMPLES
    with pytest.raises(DatasetError, match=r"x.parquet, row 1: there is no 'qestion'. Did you mean 'question'"):
        load_examples(path, "qestion")


@pytest.mark.fault("X14")
@pytest.mark.parametrize("content", ["PAR1 9999999 2", "PAR1 10 9999999"], ids=["bytes", "rows"])
def test_parquet_that_would_swell_is_refused(package, tmp_path, content):
    package("pyarrow.parquet", PARQUET)
    path = tmp_path / "x.parquet"
    path.write_text(content)
    with pytest.raises(DatasetError, match="would become 9,999,999, more than 100 times as many"):
        load_examples(path)


def test_a_file_that_is_no_parquet_is_an_error(package, tmp_path):
    package("pyarrow.parquet", PARQUET)
    path = tmp_path / "x.parquet"
    path.write_text("a,b")
    with pytest.raises(DatasetError, match="this is no parquet file: Parquet magic bytes"):
        load_examples(path)


@pytest.mark.parametrize(
    ("module", "name", "call"),
    [
        ("pyarrow.parquet", "pyarrow", lambda: DataLoader().from_parquet("x")),
        ("datasets", "datasets", lambda: DataLoader().from_huggingface("x")),
    ],
)
def test_a_package_that_is_not_there_is_named(package, module, name, call):
    package(module, "raise ImportError('broken')")
    with pytest.raises(ConfigurationError, match=f"pip install {name}"):
        call()


@pytest.mark.parametrize(
    ("sizes", "counts"),
    [
        ({}, (75, 25)),
        ({"train_size": 0.29}, (29, 71)),
        ({"train_size": 10}, (10, 90)),
        ({"train_size": 0.5, "test_size": 0.1}, (50, 10)),
        ({"train_size": 3, "test_size": 0.5}, (3, 50)),
        ({"train_size": 0, "test_size": 100}, (0, 100)),
    ],
    ids=str,
)
def test_a_split_shares_out_examples_once(sizes, counts):
    split = DataLoader().train_test_split(HUNDRED, **sizes)
    assert (len(split["train"]), len(split["test"])) == counts
    assert len({*split["train"], *split["test"]}) == sum(counts)


def test_the_same_seed_gives_the_same_split_and_sample():
    loader = DataLoader()
    assert loader.train_test_split(HUNDRED) == loader.train_test_split(HUNDRED, random_state=0)
    assert loader.train_test_split(HUNDRED, random_state=1) != loader.train_test_split(HUNDRED, random_state=2)
    assert loader.sample(HUNDRED, 5, random_state=7) == loader.sample(HUNDRED, 5, random_state=7)
    assert len(set(loader.sample(HUNDRED, 50))) == 50


@pytest.mark.parametrize(
    "sizes",
    [
        {"train_size": 1.5},
        {"train_size": 1.0},
        {"train_size": -1},
        {"train_size": 101},
        {"test_size": "a"},
        {"train_size": 80, "test_size": 21},
    ],
    ids=str,
)
def test_sizes_that_do_not_fit_are_refused(sizes):
    with pytest.raises(ConfigurationError, match=r"train_size|test_size"):
        DataLoader().train_test_split(HUNDRED, **sizes)


def test_a_sample_larger_than_the_dataset_is_refused():
    with pytest.raises(ConfigurationError, match="A sample of 101 cannot be drawn from 100"):
        DataLoader().sample(HUNDRED, 101)
