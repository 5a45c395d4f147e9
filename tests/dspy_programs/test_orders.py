"""A program as a DSPy user writes it: orders out of mails, into nested pydantic models with lists and enums."""

import enum
from datetime import date
from typing import Optional

import pydantic
import pytest

import dspex
from dspex.testing import DummyLM


class Unit(str, enum.Enum):  # noqa: UP042  as programs have it
    PIECE = "piece"
    KILOGRAM = "kg"


class Line(pydantic.BaseModel):
    article: str
    amount: float = pydantic.Field(gt=0)
    unit: Unit = Unit.PIECE


class Order(pydantic.BaseModel):
    customer: str
    lines: list[Line]
    due: Optional[date] = None  # noqa: UP045

    @property
    def pieces(self) -> float:
        return sum(line.amount for line in self.lines if line.unit is Unit.PIECE)


class FindOrders(dspex.Signature):
    """Find every order in the mail.

    One order for each customer.
    """

    mail: str = dspex.InputField(desc="as it came in")
    known_customers: list[str] = dspex.InputField()
    orders: list[Order] = dspex.OutputField(desc="in the order of the mail")
    urgency: Unit | None = dspex.OutputField(default=None)


class CheckOrder(dspex.Signature):
    """Say whether the order can be delivered from stock."""

    order: Order = dspex.InputField()
    stock: dict[str, int] = dspex.InputField()
    possible: bool = dspex.OutputField()
    missing: list[str] = dspex.OutputField()


class OrderDesk(dspex.Module):
    def __init__(self, stock):
        super().__init__()
        self.stock = stock
        self.find = dspex.Predict(FindOrders)
        self.check = dspex.ChainOfThought(CheckOrder)

    def forward(self, mail, customers):
        orders = self.find(mail=mail, known_customers=customers).orders
        checks = [self.check(order=order, stock=self.stock) for order in orders]
        missing = {
            order.customer: check.missing for order, check in zip(orders, checks, strict=True) if not check.possible
        }
        return dspex.Prediction(orders=orders, missing=missing, reasons=[check.reasoning for check in checks])


FOUND = """[
  {"customer": "Ada", "lines": [{"article": "bolt", "amount": 12}, {"article": "sand", "amount": "2.5", "unit": "kg"}]},
  {"customer": "Bob", "lines": [{"article": "nut", "amount": 3, "unit": "piece"}], "due": "2024-02-29"}
]"""


def test_mails_become_models_and_models_become_prompts():
    lm = DummyLM(
        [
            {"orders": FOUND},
            {"reasoning": "There are enough.", "possible": "True", "missing": "[]"},
            {"reasoning": "No nuts are left.", "possible": "False", "missing": '["nut"]'},
        ]
    )
    dspex.configure(lm=lm)
    desk = OrderDesk(stock={"bolt": 40, "nut": 0})
    result = desk(mail="Ada wants 12 bolts ...", customers=["Ada", "Bob"])
    ada, bob = result.orders
    assert (ada.pieces, ada.lines[1].unit, ada.due) == (12, Unit.KILOGRAM, None)
    assert bob == Order(customer="Bob", lines=[Line(article="nut", amount=3)], due=date(2024, 2, 29))
    assert result.missing == {"Bob": ["nut"]}
    assert result.reasons[1] == "No nuts are left."
    first, second, _ = [entry["messages"] for entry in lm.history]
    assert "Find every order in the mail." in first[0]["content"]
    assert "as it came in" in first[0]["content"]
    assert '"customer":"Ada"' in second[-1]["content"].replace(": ", ":")


def test_a_model_that_breaks_a_constraint_is_a_parse_error():
    wrong = '[{"customer": "Ada", "lines": [{"article": "bolt", "amount": -1}]}]'
    dspex.configure(lm=DummyLM([{"orders": wrong}, {"orders": wrong}]))
    with pytest.raises(dspex.AdapterParseError):
        dspex.Predict(FindOrders)(mail="x", known_customers=[])


async def test_it_runs_async_too():
    with dspex.context(lm=DummyLM([{"orders": FOUND}])):
        found = await dspex.Predict(FindOrders).acall(mail="x", known_customers=[])
    assert [order.customer for order in found.orders] == ["Ada", "Bob"]
    assert found.urgency is None
