"""DSPy's arguments of `save` and `load`: taken where they change nothing, refused where they ask for what is not done."""

import pytest

import dspex


@pytest.fixture
def program():
    return dspex.Predict("question -> answer")


@pytest.mark.parametrize("name", ["program.json", "program.pkl"])
def test_what_changes_nothing_is_taken(program, tmp_path, name):
    program.demos = [{"question": "1+1?", "answer": "2"}]
    program.save(tmp_path / name, save_program=False)
    loaded = dspex.Predict("question -> answer").load(tmp_path / name, allow_pickle=True, allow_unsafe_lm_state=False)
    assert loaded.demos == program.demos
    assert dspex.load(tmp_path / name, allow_pickle=True).demos == program.demos
    assert dspex.Predict("question -> answer").load_state(program.dump_state(), allow_unsafe_lm_state=False).demos


@pytest.mark.parametrize("asked", [{"save_program": True}, {"modules_to_serialize": [dspex]}])
def test_a_program_with_its_code_is_not_written(program, tmp_path, asked):
    with pytest.raises(dspex.ProgramFileError, match=r"dspex\.load makes the program"):
        program.save(tmp_path, **asked)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("load", [dspex.load, dspex.Predict("question -> answer").load], ids=["whole", "state"])
def test_a_folder_with_a_pickle_is_told_what_to_save_instead(tmp_path, load):
    (tmp_path / "program.pkl").write_bytes(b"\x80\x04.")
    with pytest.raises(dspex.ProgramFileError, match=r"Save it in DSPy once more, by program\.save\('program\.json'\)"):
        load(tmp_path, allow_pickle=True)


def test_an_endpoint_of_a_file_is_not_taken_on_request_either(program, tmp_path):
    program.save(tmp_path / "p.json")
    with pytest.raises(dspex.ProgramFileError, match=r"set_lm"):
        program.load(tmp_path / "p.json", allow_unsafe_lm_state=True)
    with pytest.raises(dspex.ProgramFileError, match=r"set_lm"):
        program.load_state(program.dump_state(), allow_unsafe_lm_state=True)
