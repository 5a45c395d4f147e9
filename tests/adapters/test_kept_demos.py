"""Demos are made into messages once for each, and still are what they are at each call."""

from typing import Any

import pytest

import dspex
from dspex.core.dictionaries import to_message

QA = dspex.Signature("question: str, context: list[str] -> answer: int")
ASKED = {"question": "1+1?", "context": ["sums"]}


def demo(**changes: Any) -> dspex.Example:
    return dspex.Example(**{"question": "2+2?", "context": "sums", "answer": 4, **changes})


@pytest.fixture(params=[dspex.ChatAdapter, dspex.JSONAdapter, dspex.XMLAdapter])
def rendered(request):
    """Gives the texts of what is sent, which are those of `format`."""
    adapter = request.param()

    def rendered(demos: Any) -> list[str]:
        messages = adapter.render(QA, demos, ASKED)
        assert messages == tuple(map(to_message, adapter.format(QA, demos, ASKED)))
        return [message.text for message in messages]

    return rendered


@pytest.mark.parametrize(
    "change",
    [
        lambda one: one.__setitem__("answer", 5),
        lambda one: one.__setitem__("answer", True),
        lambda one: one.__setitem__("answer", 4.5),
        lambda one: setattr(one, "question", "3+3?"),
        lambda one: one.__delitem__("context"),
        lambda one: one.__setitem__("answer", None),
        lambda one: one.__setitem__("context", ["sums", "of two"]),
    ],
)
def test_a_demo_that_was_changed_is_shown_as_it_is_now(change, rendered):
    demos = [demo(), demo(answer=1)]
    before = rendered(demos)
    change(demos[1])
    assert rendered(demos) != before


def test_a_value_that_was_changed_inside_is_shown_as_it_is_now(rendered):
    demos = [demo(context=["sums"])]
    before = rendered(demos)
    demos[0].context.append("of two")
    assert rendered(demos) != before


def test_the_list_of_demos_may_be_changed(rendered):
    demos = [demo(question=f"{n}?") for n in range(3)]
    first = rendered(demos)
    demos.reverse()
    assert rendered(demos) == [first[0], *first[5:7], *first[3:5], *first[1:3], first[7]]
    del demos[1:]
    assert rendered(demos) == [first[0], *first[5:7], first[7]]


def test_partial_demos_come_first_and_what_is_no_demo_is_left_out(rendered):
    demos = [demo(), dspex.Example(question="only asked"), demo(context=None, question="in part?")]
    texts = rendered(demos)
    assert len(texts) == 6
    assert "in part?" in texts[1]
    assert "2+2?" in texts[3]


def test_demos_may_be_dictionaries_and_change_too(rendered):
    demos = [dict(demo().items())]
    before = rendered(demos)
    demos[0]["answer"] = 5
    assert rendered(demos) != before


@pytest.mark.parametrize("kind", [dspex.ChatAdapter, dspex.JSONAdapter, dspex.XMLAdapter])
def test_a_demo_is_made_into_messages_once(monkeypatch, kind):
    signature = dspex.Signature("question -> answer")
    demos = [dspex.Example(question=f"{n}?", answer="yes") for n in range(3)]
    made: list[Any] = []
    write = kind.format_demos
    monkeypatch.setattr(kind, "format_demos", lambda *given: made.append(given[2]) or write(*given))
    adapter = kind()
    for number in range(4):
        adapter.render(signature, demos, {"question": f"{number}!"})
        adapter.render(signature, demos[number % 3 :], {"question": "and with some of them?"})
    assert made == [[one] for one in demos]


def test_more_demos_than_are_kept_are_shown_all_the_same(rendered):
    demos = [dspex.Example(question=f"{n}?", context="sums", answer=n) for n in range(600)]
    for _ in range(2):
        assert len(rendered(demos)) == 1_202


@pytest.mark.parametrize("kind", [dspex.ChatAdapter, dspex.JSONAdapter, dspex.XMLAdapter])
def test_an_adapter_of_ones_own_is_asked_each_time(kind):
    class Loud(kind):
        turn = 0

        def format_assistant_message_content(self, *given):
            self.turn += 1
            return f"turn {self.turn}"

    signature, adapter = dspex.Signature("question -> answer"), Loud()
    demos = [dspex.Example(question="2+2?", answer="4")]
    texts = [adapter.render(signature, demos, {"question": "?"})[2].text for _ in range(2)]
    assert [text[:6] for text in texts] == ["turn 1", "turn 2"]
