"""Arguments that DSPy's own calls may give by name, under the names that they have there."""

import pytest

import dspex
from dspex.evaluate.metrics import EM, F1

PNG = b"\x89PNG\r\n\x1a\n" + bytes(8)


def test_media_are_read_from_a_file_or_bytes(tmp_path):
    path = tmp_path / "cat.png"
    path.write_bytes(PNG)
    assert dspex.Image.from_path(file_path=str(path)) == dspex.Image(PNG)
    assert dspex.File.from_path(file_path=path).file_data == dspex.File.from_bytes(file_bytes=PNG).file_data


@pytest.mark.parametrize("rows", [[{"answer": "4"}, {"answer": "5"}], {"answer": ["4", "5"]}], ids=["rows", "columns"])
def test_completions_are_rows_or_columns(rows):
    assert dspex.Prediction.from_completions(list_or_dict=rows).answer == "4"
    assert dspex.Completions(list_or_dict=rows).answer == ["4", "5"]


def test_all_others():
    assert dspex.Signature("a -> b").append_instructions(instructions="Be brief.").instructions.endswith("Be brief.")
    assert EM(prediction="Four", answers_list=["4", "four"])
    assert F1(prediction="four", answers_list=["four"]) == 1.0
    [call] = dspex.ToolCalls.from_dict_list(tool_calls_dicts=[{"name": "look", "args": {}}]).tool_calls
    assert call.name == "look"
    assert dspex.experimental.Citations.from_dict_list(citations_dicts=[{"cited_text": "so"}])[0].cited_text == "so"
