"""Rows of files (CSV, TSV, JSON lines, JSON, parquet), each with its place. All but a JSON array is read as a stream."""

import csv
import importlib
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

import msgspec

from dspex.core.errors import ConfigurationError, DatasetError

MAX_LINE = 16 * 2**20  # characters: without a bound, a file that lacks line ends would fill the memory
MAX_RATIO = 100  # of a packed file's content to its size; more is a mistake or a bomb
_PACKED: Mapping[bytes, str] = MappingProxyType(
    {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
)
_UNREADABLE = re.compile("[\udc80-\udcff\0]")
_AT_BYTE = re.compile(r"\(byte (\d+)\)")


class Row(NamedTuple):
    """One row; `place` is its line in a text file, else its number, from 1."""

    place: int
    values: Mapping[str, Any]


class Source(msgspec.Struct, frozen=True):
    """Where rows come from; `unit` is what their places count."""

    name: str
    unit: str = "row"

    def fail(self, message: str, place: int | None = None, column: int | None = None) -> NoReturn:
        """Raise DatasetError that names file, line and column."""
        where = [self.name, *([f"{self.unit} {place}"] if place else []), *([f"column {column}"] if column else [])]
        raise DatasetError(f"{', '.join(where)}: {message}", path=self.name, line=place, column=column)


def file_rows(path: Path, kind: str | None, encoding: str) -> tuple[Source, Iterator[Row]]:
    """The rows of a file, read by its `kind` or its name's ending.

    Raises ConfigurationError for an unknown kind, and, while rows are read, DatasetError and OSError.
    """
    kind = kind or path.suffix.lower().removeprefix(".")
    if kind not in _READERS:
        raise ConfigurationError(f"No reader for {path.name!r}; there is one for: {', '.join(_READERS)} (kind=...).")
    source = Source(str(path), "row" if kind == "parquet" else "line")
    return source, _READERS[kind](source, path, encoding)


def needed(module: str, package: str, purpose: str) -> Any:
    """A module of a package that is no dependency. Raises ConfigurationError where it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ConfigurationError(f"{purpose} needs the package {package}: pip install {package}") from error


# Text


def _lines(source: Source, path: Path, encoding: str) -> Generator[str, None, None]:
    with path.open("rb") as file:
        head = file.read(6)
    for start, packed in _PACKED.items():
        if head.startswith(start):
            source.fail(f"it is packed by {packed}; unpack it first")
    is_utf_8 = encoding.lower().replace("_", "-") in ("utf-8", "utf8")
    if is_utf_8 and head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        source.fail("it is in UTF-16: give encoding='utf-16'")
    if not head:
        source.fail("it is empty")
    escaped = "surrogateescape" if is_utf_8 else "strict"
    with path.open(encoding="utf-8-sig" if is_utf_8 else encoding, errors=escaped, newline="") as file:
        for number in count(1):
            try:
                line = file.readline(MAX_LINE + 1)
            except UnicodeError as error:
                source.fail(f"it is not in {encoding}: {error}", number)
            if not line:
                return
            _check_line(source, line, number, encoding)
            yield line


def _check_line(source: Source, line: str, number: int, encoding: str) -> None:
    if len(line) > MAX_LINE:
        source.fail(f"the line is longer than {MAX_LINE:,} characters", number)
    if (fault := _UNREADABLE.search(line)) is None:
        return
    if fault[0] == "\0":
        source.fail("a NUL character: is this a text file, and in this encoding?", number, fault.start() + 1)
    byte = ord(fault[0]) - 0xDC00
    source.fail(f"the byte 0x{byte:02X} is not in {encoding}; give encoding=, as 'cp1252'", number, fault.start() + 1)


# CSV


def _csv(source: Source, path: Path, encoding: str) -> Iterator[Row]:
    return _cells(source, csv.reader(_lines(source, path, encoding), strict=True))


def _tsv(source: Source, path: Path, encoding: str) -> Iterator[Row]:
    return _cells(source, csv.reader(_lines(source, path, encoding), delimiter="\t", strict=True))


def _cells(source: Source, reader: Any) -> Iterator[Row]:
    header: list[str] = []
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            source.fail(_csv_fault(str(error), reader.line_num), line)
        if not cells:
            continue
        if not header:
            header = _header(source, cells, line)
        elif len(cells) != len(header):
            _wrong_count(source, cells, header, line)
        else:
            yield Row(line, dict(zip(header, cells, strict=True)))


def _header(source: Source, names: list[str], line: int) -> list[str]:
    for column, name in enumerate(names, 1):
        if not name:
            source.fail("the column has no name (pandas names its index so: to_csv(index=False))", line, column)
        if name in names[: column - 1]:
            source.fail(f"a second column has the name {name!r}", line, column)
    return names


def _wrong_count(source: Source, cells: list[str], header: list[str], line: int) -> NoReturn:
    if len(cells) < len(header):
        source.fail(f"{len(cells)} cells of {len(header)}: {header[len(cells)]!r} is missing", line, len(cells) + 1)
    extra = cells[len(header)]
    source.fail(
        f"{len(cells)} cells, and names for {len(header)}: {extra[:40]!r} is one too many. A cell with a comma stands in quotes",
        line,
        len(header) + 1,
    )


def _csv_fault(error: str, last: int) -> str:
    if "unexpected end" in error:
        return "a quote that opens in this row is never closed"
    if "field limit" in error:
        return (
            f"{error}, up to line {last}: a quote that is not closed, or raise the limit by csv.field_size_limit(...)"
        )
    return error


# JSON


def _json_lines(source: Source, path: Path, encoding: str) -> Iterator[Row]:
    return _decoded(source, _lines(source, path, encoding))


def _decoded(source: Source, lines: Iterable[str]) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        if text := line.strip():
            value = _read_json(source, text, number, len(line) - len(line.lstrip()))
            yield Row(number, _object(source, value, number))


def _json(source: Source, path: Path, encoding: str) -> Iterator[Row]:
    """An array of objects, or one object a line."""
    lines = _lines(source, path, encoding)
    first = next((line for line in lines if line.strip()), "")
    lines.close()
    if not first.lstrip().startswith("["):
        yield from _json_lines(source, path, encoding)
        return
    text = "".join(_lines(source, path, encoding))
    rows = _read_json(source, text, 1, 0)
    array = Source(source.name)
    for number, value in enumerate(rows, 1):
        yield Row(number, _object(array, value, number))


def _read_json(source: Source, text: str, line: int, indent: int) -> Any:
    try:
        return msgspec.json.decode(text)
    except RecursionError:
        source.fail("the JSON is nested too deep", line)
    except ValueError as error:
        found = _AT_BYTE.search(str(error))
        before = text.encode()[: int(found[1])].decode(errors="ignore") if found else text
        column = len(before) - before.rfind("\n")
        why = _AT_BYTE.sub("", str(error)).removeprefix("JSON is malformed: ").strip()
        source.fail(f"this is no JSON: {why}", line + before.count("\n"), column + (0 if "\n" in before else indent))


def _object(source: Source, value: Any, place: int) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        hint = " An array of objects belongs into a .json file." if isinstance(value, list) else ""
        source.fail(f'an object is wanted, as {{"question": ...}}, and not {type(value).__name__}.{hint}', place)
    return value


# Parquet


def _parquet(source: Source, path: Path, _: str) -> Iterator[Row]:
    parquet = needed("pyarrow.parquet", "pyarrow", "Reading parquet")
    size = path.stat().st_size
    try:
        with parquet.ParquetFile(path) as file:
            groups = [file.metadata.row_group(index) for index in range(file.metadata.num_row_groups)]
            unpacked = sum(max(group.total_byte_size, group.num_rows) for group in groups)
            if unpacked > MAX_RATIO * size:
                source.fail(f"{size:,} bytes would become {unpacked:,}, more than {MAX_RATIO} times as many")
            rows = (row for batch in file.iter_batches(batch_size=1024) for row in batch.to_pylist())
            for number, row in enumerate(rows, 1):
                yield Row(number, row)
    except ValueError as error:  # pyarrow.ArrowInvalid
        if isinstance(error, DatasetError):
            raise
        source.fail(f"this is no parquet file: {error}")


_READERS: Mapping[str, Callable[[Source, Path, str], Iterator[Row]]] = MappingProxyType(
    {"csv": _csv, "tsv": _tsv, "jsonl": _json_lines, "ndjson": _json_lines, "json": _json, "parquet": _parquet}
)
