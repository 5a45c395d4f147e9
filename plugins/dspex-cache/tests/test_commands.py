import asyncio
import json
import os
import stat

import pytest
from click.testing import CliRunner

from dspex.testing import CommandContract
from dspex_cache import dspex_commands
from dspex_cache.sqlite import SqliteCache


class Backdated:
    """A clock ten days behind."""

    def now(self):
        import time

        return time.time() - 10 * 86_400

    def monotonic(self):
        return 0.0


@pytest.fixture
def run():
    [group] = dspex_commands()

    def invoke(*arguments, code=0, **options):
        done = CliRunner().invoke(group, arguments, **options)
        assert done.exit_code == code, done.output
        return done.output

    return invoke


@pytest.fixture
def filled(path):
    """A file with an entry of today, one that is ten days old, and one that expired nine days ago."""

    async def fill(cache, **entries):
        for name, (size, ttl) in entries.items():
            await cache.set(name.encode(), os.urandom(size), ttl)
        await cache.aclose()

    asyncio.run(fill(SqliteCache(clock=Backdated()), old=(300_000, None), expired=(10, 86_400)))
    asyncio.run(fill(SqliteCache(), new=(10, None)))
    return path


def names(path):
    cache = SqliteCache({"path": path})
    found = {name for name in ("old", "expired", "new") if cache._queue.database.find(name.encode()) is not None}
    asyncio.run(cache.aclose())
    return found


def test_stats_say_where_how_many_and_how_large(run, filled):
    output = run("stats")
    assert str(filled) in output
    assert "entries  3, of which 1 expire" in output
    assert "oldest   10.0 days" in output


@pytest.mark.parametrize(
    ("options", "kept"),
    [([], {"old", "new"}), (["--older-than", "5"], {"new"}), (["--max-mb", "0.1"], {"new"})],
    ids=["expired", "old", "large"],
)
def test_prune_drops_what_it_is_told_and_gives_the_space_back(run, filled, options, kept):
    before = filled.stat().st_size
    assert run("prune", *options) == f"Dropped {3 - len(kept)} entries.\n"
    assert names(filled) == kept
    assert "old" in kept or filled.stat().st_size < before / 4


def test_clear_asks_first(run, filled):
    assert "Aborted" in run("clear", input="n\n", code=1)
    assert len(names(filled)) == 3
    assert "Dropped 3 entries." in run("clear", "--yes")
    assert names(filled) == set()


def test_export_writes_json_lines_that_only_the_user_may_read(run, filled, tmp_path):
    target = tmp_path / "entries.jsonl"
    assert run("export", str(target)) == f"Wrote 3 entries to {target}.\n"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    lines = [json.loads(line) for line in target.read_text().splitlines()]
    assert [bytes.fromhex(line["key"]) for line in lines] == [b"old", b"expired", b"new"]
    assert len(run("export").splitlines()) == 3


def test_what_was_exported_is_taken_in_elsewhere(run, filled, tmp_path):
    there, other = tmp_path / "entries.jsonl", tmp_path / "other.sqlite"
    run("export", str(there))
    assert run("--path", str(other), "import", str(there)) == f"Read 3 entries into {other}.\n"
    assert run("--path", str(other), "export") == run("export")
    assert "Read 3 entries" in run("import", "-", input=there.read_bytes())
    assert "entries  3, of which 1 expire" in run("stats")


@pytest.mark.parametrize("line", ["{", "{}", '{"key": "zz", "value": "", "stored": 1}', '{"key": "00", "value": "?"}'])
def test_what_is_no_export_is_told_with_its_line(run, path, tmp_path, line):
    (tmp_path / "odd.jsonl").write_text('{"key": "00", "value": "YQ==", "stored": 1.0}\n' + line + "\n")
    assert "Line 2 of" in run("import", str(tmp_path / "odd.jsonl"), code=1)


def damage(path):
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xff" * 200_000)


def test_an_export_that_fails_leaves_the_one_before_it(run, filled, tmp_path):
    target = tmp_path / "entries.jsonl"
    run("export", str(target))
    before = target.read_bytes()
    damage(filled)
    assert "`dspex cache clear` moves a damaged file aside" in run("export", str(target), code=1)
    assert (target.read_bytes(), list(tmp_path.glob("*.new"))) == (before, [])


@pytest.mark.parametrize("target", ["nowhere/entries.jsonl", "file/entries.jsonl"])
def test_a_place_that_cannot_be_written_is_named(run, filled, tmp_path, target):
    (tmp_path / "file").touch()
    assert f"{tmp_path / target} cannot be written" in run("export", str(tmp_path / target), code=1)


@pytest.mark.filterwarnings("ignore:The cache file .* was damaged")
def test_a_damaged_file_is_out_of_the_way_after_clear(run, filled):
    damage(filled)
    for command in ("stats", "prune"):
        assert "malformed; `dspex cache clear` moves a damaged file aside" in run(command, code=1)
    assert "Drop all replies" in run("clear", input="y\n")
    aside = [path.name for path in filled.parent.glob("*.damaged-*") if not path.name.endswith(("-wal", "-shm"))]
    assert len(aside) == 1
    assert names(filled) == set()


def test_a_size_that_is_none_is_refused(run, filled):
    assert "finite" in run("prune", "--max-mb", "nan", code=2)


@pytest.mark.parametrize("command", [["stats"], ["prune"], ["clear", "--yes"]], ids=str)
def test_without_a_file_none_is_made(run, path, command):
    assert "there is no file yet" in run(*command)
    assert not path.exists()


def test_a_file_that_cannot_be_used_is_named(run, path):
    path.parent.mkdir()
    path.mkdir()
    assert f"Error: The cache cannot be used: {path}: it is not a regular file" in run("stats", code=1)


def test_another_file_is_given_by_its_path(run, tmp_path):
    assert str(tmp_path / "other.sqlite") in run("--path", str(tmp_path / "other.sqlite"), "stats")


class TestContract(CommandContract):
    module = "dspex_cache"
    runs = (["cache", "stats"], ["cache", "prune", "--help"])
