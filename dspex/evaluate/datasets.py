"""Datasets: lists of Examples, read from files and tables, sampled and split."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from dspex.core.errors import ConfigurationError
from dspex.core.example import Example
from dspex.core.nearest import did_you_mean
from dspex.evaluate.rows import Row, Source, file_rows, needed
from dspex.program.values import codec

T = TypeVar("T")
Rows = str | Path | Iterable[Mapping[str, Any]]


def load_examples(
    source: Rows,
    inputs: Iterable[str] = (),
    *,
    fields: Iterable[str] | None = None,
    types: Any = None,
    kind: str | None = None,
    encoding: str = "utf-8",
) -> list[Example]:
    """The Examples of a file (.csv, .tsv, .jsonl, .json, .parquet) or of rows; `inputs` names what a program is given.

    `fields` are those to keep, all by default. Cells of CSV are texts; `types`, a signature or a mapping of name to type,
    reads them as a reply of a model is read. `kind` goes before the name's ending.
    Raises DatasetError, which names file, line and column; ConfigurationError.
    """
    return list(read_examples(source, inputs, fields=fields, types=types, kind=kind, encoding=encoding))


def read_examples(
    source: Rows,
    inputs: Iterable[str] = (),
    *,
    fields: Iterable[str] | None = None,
    types: Any = None,
    kind: str | None = None,
    encoding: str = "utf-8",
) -> Iterator[Example]:
    """`load_examples` one at a time: a file larger than memory can be read, but for one that is a single JSON array."""
    given = _names(inputs)
    kept = None if fields is None else _names(fields)
    if kept is not None and (lost := [name for name in given if name not in kept]):
        raise ConfigurationError(f"{', '.join(map(repr, lost))} of `inputs` is not among `fields`: {', '.join(kept)}.")
    readers = _readers(types)
    if isinstance(source, (str, Path)):
        origin, rows = file_rows(Path(source), kind, encoding)
    else:
        origin, rows = Source("rows"), (Row(number, row) for number, row in enumerate(source, 1))
    for row in rows:
        example = Example(_values(origin, row, kept, (*given, *(kept or ())), readers))
        yield example.with_inputs(*given) if given else example


def _names(names: Iterable[str]) -> tuple[str, ...]:
    # ("question") is a text where a tuple was meant.
    return (names,) if isinstance(names, str) else tuple(names)


def _readers(types: Any) -> Mapping[str, tuple[Callable[[str], Any], Callable[[Any], Any]]]:
    if types is None:
        return {}
    known = getattr(types, "fields", None) or {name: codec(kind) for name, kind in types.items()}
    return {name: (one.decode, one.convert) for name, one in known.items()}


def _values(
    source: Source,
    row: Row,
    kept: tuple[str, ...] | None,
    wanted: Iterable[str],
    readers: Mapping[str, tuple[Callable[[str], Any], Callable[[Any], Any]]],
) -> dict[str, Any]:
    values = row.values
    for name in wanted:
        if name not in values:
            source.fail(
                f"there is no {name!r}.{did_you_mean(name, values)} There are: {', '.join(values) or 'none'}", row.place
            )
    chosen = {name: values[name] for name in (values if kept is None else kept)}
    for name in readers.keys() & chosen.keys():
        decode, convert = readers[name]
        try:
            chosen[name] = decode(chosen[name]) if isinstance(chosen[name], str) else convert(chosen[name])
        except ValueError as error:
            source.fail(f"{name!r}: {error}", row.place, list(values).index(name) + 1)
    return chosen


class DataLoader:
    """DSPy's names for the same. Draws come again: without a `random_state` it is 0."""

    def from_csv(
        self, file_path: str | Path, fields: Iterable[str] | None = None, input_keys: Iterable[str] = ()
    ) -> list[Example]:
        """Examples of a CSV file, whose cells stay texts."""
        return load_examples(file_path, input_keys, fields=fields, kind="csv")

    def from_json(
        self, file_path: str | Path, fields: Iterable[str] | None = None, input_keys: Iterable[str] = ()
    ) -> list[Example]:
        """Examples of a file with an array of objects, or with one object a line."""
        return load_examples(file_path, input_keys, fields=fields, kind="json")

    def from_parquet(
        self, file_path: str | Path, fields: Iterable[str] | None = None, input_keys: Iterable[str] = ()
    ) -> list[Example]:
        """Examples of a parquet file. Raises ConfigurationError without pyarrow."""
        return load_examples(file_path, input_keys, fields=fields, kind="parquet")

    def from_pandas(
        self, df: Any, fields: Iterable[str] | None = None, input_keys: Iterable[str] = ()
    ) -> list[Example]:
        """Examples of a DataFrame's rows."""
        return load_examples(df.to_dict(orient="records"), input_keys, fields=fields)

    def from_huggingface(
        self,
        dataset_name: str,
        *args: Any,
        input_keys: Iterable[str] = (),
        fields: Iterable[str] | None = None,
        **kwargs: Any,
    ) -> dict[str, list[Example]] | list[Example]:
        """Examples by split, or of the one `split`; other arguments are those of `datasets.load_dataset`.

        Raises ConfigurationError without the package datasets.
        """
        found = needed("datasets", "datasets", "from_huggingface").load_dataset(dataset_name, *args, **kwargs)
        if isinstance(found, list):
            found = dict(zip(kwargs["split"], found, strict=True))
        if isinstance(found, Mapping):
            return {name: load_examples(rows, input_keys, fields=fields) for name, rows in found.items()}
        return load_examples(found, input_keys, fields=fields)

    def sample(self, dataset: Sequence[T], n: int, random_state: int | None = None) -> list[T]:
        """`n` different ones, in random order. Raises ConfigurationError if there are fewer."""
        if not 0 <= n <= len(dataset):
            raise ConfigurationError(f"A sample of {n} cannot be drawn from {len(dataset)} examples.")
        return Random(random_state or 0).sample(dataset, n)

    def train_test_split(
        self,
        dataset: Sequence[T],
        train_size: float = 0.75,
        test_size: float | None = None,
        random_state: int | None = None,
    ) -> dict[str, list[T]]:
        """Shuffled lists under "train" and "test"; a size is a number of examples or a share between 0 and 1.

        Raises ConfigurationError for sizes that do not fit.
        """
        whole = len(dataset)
        train = _size("train_size", train_size, whole)
        test = whole - train if test_size is None else _size("test_size", test_size, whole)
        if train + test > whole:
            raise ConfigurationError(f"train_size {train} and test_size {test} are more than all {whole} examples.")
        mixed = self.sample(dataset, whole, random_state)
        return {"train": mixed[:train], "test": mixed[train : train + test]}


def _size(name: str, size: Any, whole: int) -> int:
    if isinstance(size, float) and 0 < size < 1:
        return int(size * whole + 1e-9)  # 0.29 of 100 is 28.999... in binary
    if isinstance(size, int) and 0 <= size <= whole:
        return size
    raise ConfigurationError(f"{name} is a share between 0.0 and 1.0 or a number up to {whole}, not {size!r}.")
