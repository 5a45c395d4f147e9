"""What the parts of a message hold, for any wire."""

import pytest

from dspex.plugin import BadRequest, ToolCall, call_arguments, data_url


def test_a_data_url_is_taken_apart():
    assert data_url("data:image/png;base64,QUJD") == ("image/png", "QUJD")
    assert data_url("data:image/svg+xml;charset=utf-8;base64,QUJD") == ("image/svg+xml", "QUJD")
    assert data_url("data:;base64,QUJD") == ("", "QUJD")
    assert data_url("https://x.test/a.png") is None


@pytest.mark.parametrize("url", ["data:text/plain,hello", "data:text/plain;utf8,x", "data:"])
def test_what_is_no_base64_is_refused(url):
    with pytest.raises(BadRequest, match="base64 only"):
        data_url(url)


@pytest.mark.parametrize(("text", "made"), [('{"a": 1}', {"a": 1}), ("", {}), ("{}", {})])
def test_arguments_are_an_object(text, made):
    assert call_arguments(ToolCall("1", "f", text)) == made


@pytest.mark.parametrize("text", ["[1]", "{", "null", "3"])
def test_arguments_that_are_none_are_told_by_the_tools_name(text):
    with pytest.raises(BadRequest, match="The call of 'f' has arguments that are no JSON object"):
        call_arguments(ToolCall("1", "f", text))
