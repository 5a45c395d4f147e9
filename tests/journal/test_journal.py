"""What a journal keeps, what it cuts off, and what it refuses."""

import os
import resource
import signal
import stat
import threading
import time
from contextlib import closing, suppress

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dspex.core.errors import JournalError
from dspex.core.messages import LMResponse
from dspex.core.usage import Usage
from dspex.runtime.framing import framed
from dspex.runtime.journal import BLOB_BYTES, FILE, Journal, owner_of, repair, replay
from dspex.runtime.journal_reader import JournalReader
from dspex.runtime.records import ENCODER, Call, Considered, Mark, Run, Sent, Step, Stopped

RUN = Run(1, "r", {"seed": 0})
RECORDS = [
    RUN,
    Sent("k1"),
    Call("k1", "s1", LMResponse.from_text("Fischer, Greta", Usage(80, 4, calls=1)), 0.25),
    Step("s1", "evaluate", msgspec.Raw(b'{"example":"e","score":1.0}')),
    Considered("c1", "seed 0", msgspec.Raw(b'{"structure":"x"}'), ("c0",), {"seed": 0}),
    Mark("elapsed", 3.5),
    Stopped("done"),
]
DATA = b"".join(framed(ENCODER.encode(record), number) for number, record in enumerate(RECORDS))

texts = st.text(max_size=40)
records = st.one_of(
    st.builds(Sent, texts),
    st.builds(Call, texts, texts, st.none() | st.builds(LMResponse.from_text, texts), st.floats(0, 100)),
    st.builds(Mark, texts, st.floats(0, 1e6)),
    st.builds(Stopped, texts, texts),
)


def written(folder, entries=RECORDS):
    journal = Journal(folder)
    for record in entries:
        journal.append(record)
    journal.close()
    return folder / FILE


def test_what_is_appended_comes_back_in_order(tmp_path):
    path = written(tmp_path / "run")
    assert path.read_bytes() == DATA
    journal = Journal(tmp_path / "run")
    assert journal.records == RECORDS
    journal.append(Sent("k2"))
    journal.close()
    assert replay(path.read_bytes())[0] == [*RECORDS, Sent("k2")]


def test_what_is_added_is_kept_in_memory_where_somebody_asks_for_its_kind(tmp_path):
    with closing(Journal(tmp_path / "run")) as journal:
        journal.append(RECORDS[0])
        journal.keep({Mark})
        for record in (Sent("k"), Mark("now", 1.0), Mark("now", 2.0)):
            journal.append(record)
        assert journal.added == [Mark("now", 1.0), Mark("now", 2.0)]
        assert journal.records == []


@pytest.mark.slow
@given(st.lists(records, max_size=8), st.integers(min_value=0))
@pytest.mark.fault("P01")
def test_a_journal_cut_anywhere_replays_a_prefix(entries, cut):
    entries = [RUN, *entries]
    data = b"".join(framed(ENCODER.encode(record), number) for number, record in enumerate(entries))
    cut %= len(data) + 1
    kept, size = replay(data[:cut])
    assert kept == entries[: len(kept)]
    assert size == data[:cut].rfind(b"\n") + 1


@pytest.mark.fault("P05")
@pytest.mark.fault("R24")
def test_every_flipped_bit_is_seen():
    last = DATA[:-1].rfind(b"\n") + 1
    for position in range(len(DATA) * 8):
        byte, bit = divmod(position, 8)
        damaged = DATA[:byte] + bytes([DATA[byte] ^ 1 << bit]) + DATA[byte + 1 :]
        with suppress(JournalError):
            kept, _ = replay(damaged)
            assert byte >= last, "only in the last line may a flip look like a torn tail"
            assert kept == RECORDS[:-1]


@pytest.mark.fault("P05")
def test_a_torn_tail_is_cut_off_and_counted(tmp_path):
    path = written(tmp_path / "run")
    path.write_bytes(DATA[:-5])
    journal = Journal(tmp_path / "run")
    assert journal.records == RECORDS[:-1]
    assert journal.torn_bytes == len(DATA) - 5 - path.stat().st_size > 0
    journal.append(RECORDS[-1])
    journal.close()
    assert path.read_bytes() == DATA


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (DATA.replace(b"Greta", b"Grete"), "line 3, byte .*damaged"),
        (
            b"".join(DATA.splitlines(keepends=True)[:2] + DATA.splitlines(keepends=True)[3:]),
            "line 3, .*lost or doubled",
        ),
        (framed(ENCODER.encode(Run(2, "r", {})), 0), "line 1, .*format 2 is newer than 1.*upgrade"),
        (framed(ENCODER.encode(Sent("k")), 0), "begins with a `run` record"),
        (framed(ENCODER.encode(RUN), 0) + framed(b'{"t":"surprise"}', 1), "line 2, .*not a record"),
    ],
    ids=["changed byte", "lost line", "newer format", "no run", "unknown record"],
)
@pytest.mark.fault("P05")
def test_damage_is_refused_with_its_place(tmp_path, data, says):
    path = written(tmp_path / "run")
    path.write_bytes(data)
    with pytest.raises(JournalError, match=says):
        Journal(tmp_path / "run")
    assert path.read_bytes() == data


@pytest.mark.fault("P08")
def test_a_second_owner_is_refused_by_name_until_the_first_is_gone(tmp_path):
    first = Journal(tmp_path / "run")
    with pytest.raises(JournalError, match=f"process {os.getpid()} on {os.uname().nodename}"):
        Journal(tmp_path / "run")
    first.close()
    Journal(tmp_path / "run").close()


@pytest.mark.fault("P08")
def test_the_lock_dies_with_its_owner(warm, tmp_path):
    program = (
        "import sys, pathlib; from dspex.runtime.journal import Journal\n"
        "import signal; journal = Journal(pathlib.Path(sys.argv[1])); print('held', flush=True); signal.pause()"
    )
    out, its = os.pipe()
    owner = warm.start("-c", program, tmp_path / "run", cwd=tmp_path, out=its, err=2)
    os.close(its)
    with os.fdopen(out) as said:
        assert said.readline() == "held\n"
    with pytest.raises(JournalError, match=f"process {owner.pid} "):
        Journal(tmp_path / "run")
    os.kill(owner.pid, signal.SIGKILL)
    assert owner.wait() == -signal.SIGKILL
    Journal(tmp_path / "run").close()


@pytest.mark.fault("P02")
def test_a_full_disk_is_an_error_and_all_acknowledged_records_stay(tmp_path):
    journal = Journal(tmp_path / "run")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))
    acknowledged = []

    def fill():
        while True:
            record = Sent(f"k{len(acknowledged)}") if acknowledged else RUN
            journal.append(record)
            acknowledged.append(record)

    try:
        with pytest.raises(JournalError, match="make room, then run the same call with run_dir="):
            fill()
        with pytest.raises(JournalError, match="make room"):
            journal.append(Sent("later"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    journal.close()
    again = Journal(tmp_path / "run")
    assert again.records == acknowledged
    assert again.torn_bytes == 0
    again.close()


def test_a_large_value_lies_in_a_file_of_its_own(tmp_path):
    large = Call("k", "s", LMResponse.from_text("x" * BLOB_BYTES))
    path = written(tmp_path / "run", [RUN, large])
    [blob] = (tmp_path / "run" / "blobs").iterdir()
    assert path.stat().st_size < 1_000
    journal = Journal(tmp_path / "run")
    assert journal.records[1] == large
    journal.close()
    blob.write_bytes(blob.read_bytes().replace(b"x", b"y", 1))
    with pytest.raises(JournalError, match=f"{blob.name}, is missing or damaged"):
        Journal(tmp_path / "run")


@pytest.mark.fault("X13")
def test_nobody_else_may_read_a_run(tmp_path):
    before = os.umask(0)
    try:
        written(tmp_path / "deep" / "run", [RUN, Call("k", "s", LMResponse.from_text("x" * BLOB_BYTES))])
    finally:
        os.umask(before)
    made = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "deep" / "run").rglob("*")}
    made[tmp_path / "deep" / "run"] = stat.S_IMODE((tmp_path / "deep" / "run").stat().st_mode)
    assert made == {path: 0o700 if path.is_dir() else 0o600 for path in made}


@pytest.mark.fault("X08")
def test_a_journal_is_not_written_through_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match="cannot be used"):
        Journal(tmp_path / "run")
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_folder_that_cannot_be_made_is_an_error_with_its_name(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"file/run cannot be used: .*Choose another run_dir"):
        Journal(tmp_path / "file" / "run")


def test_threads_may_append_at_once(tmp_path):
    journal = Journal(tmp_path / "run")
    journal.append(RUN)
    threads = [threading.Thread(target=lambda: [journal.append(Sent("k")) for _ in range(200)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    journal.close()
    assert len(replay((tmp_path / "run" / FILE).read_bytes())[0]) == 801


@pytest.mark.fault("P01")
@pytest.mark.fault("R24")
def test_an_append_costs_little(tmp_path):
    journal = Journal(tmp_path / "run")
    journal.append(RUN)
    began = time.process_time()
    for _ in range(2_000):
        journal.append(RECORDS[2])
    assert (time.process_time() - began) / 2_000 <= 20e-6 * 3, "20 us on a quiet core, with room for a busy one"
    journal.close()


def test_a_reader_follows_a_journal_that_grows_and_takes_no_lock(tmp_path):
    journal = Journal(tmp_path / "run")
    journal.append(RUN)
    reader, brief = JournalReader(tmp_path / "run"), JournalReader(tmp_path / "run", {b"clock", b"stop"})
    assert reader.poll() == [RUN]
    for record in RECORDS[1:]:
        journal.append(record)
    with (tmp_path / "run" / FILE).open("ab") as file:
        file.write(b"0badc0de {torn")
    assert reader.poll() == RECORDS[1:]
    assert reader.poll() == []
    assert brief.poll() == RECORDS[-2:]
    assert owner_of(tmp_path / "run") == f"process {os.getpid()} on {os.uname().nodename}"
    journal.close()
    assert owner_of(tmp_path / "run") == owner_of(tmp_path / "none") == ""


def test_a_reader_sees_damage_in_what_it_does_not_make_records_of(tmp_path):
    path = written(tmp_path / "run")
    path.write_bytes(DATA.replace(b"Greta", b"Grete"))
    with pytest.raises(JournalError, match=r"line 3, byte .*damaged"):
        JournalReader(tmp_path / "run", {b"stop"}).poll()


@settings(max_examples=40)
@given(st.integers(min_value=0, max_value=len(DATA) - 1))
def test_a_repair_keeps_exactly_what_stands_before_the_damage(tmp_path_factory, byte):
    folder = tmp_path_factory.mktemp("repair")
    path = written(folder / "run")
    path.write_bytes(DATA[:byte] + bytes([DATA[byte] ^ 255]) + DATA[byte + 1 :])
    lines = DATA[:byte].count(b"\n")
    if not lines:
        with pytest.raises(JournalError, match="first line is damaged already"):
            repair(folder / "run", folder / "whole")
        return
    assert repair(folder / "run", folder / "whole")[0] == lines
    journal = Journal(folder / "whole")
    assert journal.records == RECORDS[:lines]
    journal.close()


def test_a_repair_takes_large_values_along(tmp_path):
    large = Call("k", "s", LMResponse.from_text("x" * BLOB_BYTES))
    path = written(tmp_path / "run", [RUN, large, Sent("k2")])
    path.write_bytes(path.read_bytes()[:-10] + b"0123456789\n{")
    assert repair(tmp_path / "run", tmp_path / "whole")[0] == 2
    journal = Journal(tmp_path / "whole")
    assert journal.records == [RUN, large]
    journal.close()
