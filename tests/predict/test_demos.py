"""A prompt with demos says the same before a program is saved and after it is loaded."""

import datetime
import decimal
import enum
import json
import pathlib
import uuid
from typing import Any

import msgspec
import pytest

from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.adapters.xml import XMLAdapter
from dspex.program.fields import InputField, OutputField
from dspex.program.predict import Predict
from dspex.program.signature import make_signature

DAY = datetime.date(2024, 2, 29)
MOMENT = datetime.datetime(2024, 2, 29, 12, tzinfo=datetime.UTC)
PLUS_TWO = MOMENT.astimezone(datetime.timezone(datetime.timedelta(hours=2)))


class Colour(enum.Enum):
    RED = "red"


class Line(msgspec.Struct):
    day: datetime.date
    colours: set[Colour]


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), XMLAdapter(), PlainAdapter()], ids=lambda a: a.name)
@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (datetime.date, DAY),
        (datetime.datetime, MOMENT),
        (datetime.datetime, PLUS_TWO),
        (datetime.time, MOMENT.timetz()),
        (datetime.date | None, DAY),
        (int | datetime.date, DAY),
        (datetime.timedelta, datetime.timedelta(hours=1)),
        (decimal.Decimal, decimal.Decimal("1.10")),
        (uuid.UUID, uuid.UUID(int=3)),
        (bytes, b"\xff"),
        (int | str, "5"),
        (str | None, "null"),
        (Colour, Colour.RED),
        (pathlib.Path, pathlib.Path("/a")),
        (Any, DAY),
        (Any, "5"),
        (str, DAY),
        (list[datetime.date], [DAY]),
        (Line, Line(DAY, {Colour.RED})),
    ],
    ids=str,
)
def test_a_demo_is_the_same_text_after_loading(adapter, kind, value):
    signature = make_signature({"q": InputField(), "i": (kind, InputField()), "a": OutputField()})
    predict = Predict(signature)
    predict.demos = [{"q": "1", "i": value, "a": "2"}]
    loaded = Predict(signature).load_state(json.loads(json.dumps(predict.dump_state())))
    inputs = {"q": "3", "i": value}
    assert adapter.format(signature, loaded.demos, inputs) == adapter.format(signature, predict.demos, inputs)
