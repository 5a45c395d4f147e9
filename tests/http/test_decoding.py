"""Replies that are not the JSON they should be."""

import contextlib
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dspex.core.errors import ProtocolError
from dspex.plugin.decoding import decode_json
from dspex.service.retry import RetryPolicy


class Reply(msgspec.Struct):
    id: str
    score: float = 0.0


def once_more_at_most(caught: "pytest.ExceptionInfo[ProtocolError]") -> bool:
    return RetryPolicy().attempts_for(caught.value) == 2


@pytest.mark.fault("N20")
def test_a_web_page_is_shown_by_its_first_80_characters():
    page = b"<!doctype html><title>Please log in</title>" + b"x" * 500
    with pytest.raises(ProtocolError, match="Please log in") as caught:
        decode_json(page, Reply)
    assert "x" * 80 not in str(caught.value)
    assert "api_base" in str(caught.value)


@pytest.mark.fault("N22")
@pytest.mark.parametrize(
    "body", [b"", b"  \n", b'{"id": "abc', b'{"id"'], ids=["empty", "blank", "cut-value", "cut-key"]
)
def test_an_empty_or_cut_reply_may_be_tried_once_more(body):
    with pytest.raises(ProtocolError) as caught:
        decode_json(body, Reply)
    assert once_more_at_most(caught)


@pytest.mark.fault("B06")
@pytest.mark.parametrize(
    ("body", "text"),
    [(b'{"id": "a\xff"}', "a\ufffd"), (rb'{"id": "a\ud800"}', "a\ufffd"), (rb'{"id": "\udc00a"}', "\ufffda"),
     (b'\xef\xbb\xbf{"id": "a"}', "a"), (rb'{"id": "\\ud800 \ud83d\ude00 \ud83d"}', "\\ud800 \U0001f600 \ufffd"),
     (b'{"id": "\xed\xa0\x80"}', "\ufffd\ufffd\ufffd"), ('\ufeff{"id": "a"}', "a")],
    ids=["utf-8", "high", "low", "bom", "escaped", "cesu", "text"],
)  # fmt: skip
def test_broken_text_is_repaired_so_that_it_prints_and_saves(body, text):
    assert decode_json(body, Reply).id == text
    assert msgspec.json.encode(text)


@pytest.mark.fault("B07")
@pytest.mark.parametrize("number", ["NaN", "Infinity", "9" * 6000, "1e400"], ids=["nan", "inf", "digits", "1e400"])
def test_numbers_out_of_range_are_a_protocol_error(number):
    with pytest.raises(ProtocolError) as caught:
        decode_json(f'{{"id": "a", "score": {number}}}', Reply)
    assert len(str(caught.value)) < 500


@pytest.mark.fault("B07")
@pytest.mark.parametrize("number", ["9" * 6000, "1e400"], ids=["digits", "1e400"])
def test_numbers_out_of_range_are_ignored_where_nobody_reads_them(number):
    assert decode_json(f'{{"id": "a", "other": {number}}}', Reply).id == "a"


@pytest.mark.fault("B08")
@pytest.mark.parametrize("kind", [Reply, Any], ids=["unknown-field", "any"])
def test_deep_nesting_is_a_protocol_error(kind):
    with pytest.raises(ProtocolError, match="nested too deeply"):
        decode_json(b'{"id": "a", "other": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", kind)


def test_a_value_of_the_wrong_type_is_named_by_its_place():
    with pytest.raises(ProtocolError, match=r"`\$\.id`"):
        decode_json(b'{"id": 5}', Reply)


def test_a_kept_decoder_does_the_same():
    assert decode_json(b'{"id": "a"}', msgspec.json.Decoder(Reply)) == Reply("a")


@given(st.binary(max_size=200) | st.text(max_size=200))
def test_any_input_is_a_value_or_a_protocol_error(body):
    with contextlib.suppress(ProtocolError):
        decode_json(body, Any)
