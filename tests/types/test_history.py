"""History: earlier turns stand between the demos and the question, in the signature's form."""

import pytest

import dspex
from dspex.core.errors import InputError
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.adapters.json import JSONAdapter
from dspex.program.adapters.plain import PlainAdapter
from dspex.program.adapters.xml import XMLAdapter
from dspex.program.signature import Signature
from dspex.program.types.history import History
from dspex.program.types.media import Image
from dspex.testing import DummyLM

CHAT = Signature("history: dspex.History, question, tone: str | None -> answer, score: float")
DEMO = {"question": "dq", "tone": "calm", "answer": "da", "score": 1.0}
TURNS = [
    {"question": "q1", "answer": "a1", "score": 0.5, "tone": None},
    {"question": "q2", "answer": None},
    {"answer": "a2"},
]


def said(adapter, *turns, **inputs):
    messages = adapter.format(CHAT, [DEMO], {"history": History(messages=turns), "question": "q3", **inputs})
    return [(message["role"], message["content"]) for message in messages]


def test_turns_stand_between_demos_and_question():
    system, *turns = said(ChatAdapter(), *TURNS)
    assert "history" not in system[1]
    assert [role for role, _ in turns] == ["user", "assistant", "user", "assistant", "user", "assistant", "user"]
    assert turns[2:6] == [
        ("user", "[[ ## question ## ]]\nq1"),
        ("assistant", "[[ ## answer ## ]]\na1\n\n[[ ## score ## ]]\n0.5\n\n[[ ## completed ## ]]"),
        ("user", "[[ ## question ## ]]\nq2"),
        ("assistant", "[[ ## answer ## ]]\na2\n\n[[ ## completed ## ]]"),
    ]
    assert turns[0] == ("user", "[[ ## question ## ]]\ndq\n\n[[ ## tone ## ]]\ncalm")
    assert "Reply with" in turns[-1][1]


@pytest.mark.parametrize(
    ("adapter", "turn"),
    [
        (JSONAdapter(), [("user", '{"question":"q1"}'), ("assistant", '{"answer":"a1","score":0.5}')]),
        (XMLAdapter(), [("user", "<question>\nq1\n</question>"), ("assistant", "<answer>\na1\n</answer>\n\n<score>\n0.5\n</score>")]),
    ],
    ids=["json", "xml"],
)  # fmt: skip
def test_turns_are_in_the_adapters_form(adapter, turn):
    assert said(adapter, TURNS[0])[3:5] == turn


def test_a_text_for_base_models_has_them_as_blocks():
    [(_, prompt)] = said(PlainAdapter(), *TURNS[:1], tone="calm")
    assert prompt.endswith("Question: dq\nTone: calm\nAnswer: da\nScore: 1.0\n\nQuestion: q1\nAnswer: a1\nScore: 0.5\n\nQuestion: q3\nTone: calm\nAnswer:")  # fmt: skip


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), PlainAdapter(), XMLAdapter()], ids=lambda a: a.name)
@pytest.mark.parametrize("value", [None, History(), {"messages": []}])
def test_no_turns_leave_no_trace(adapter, value):
    inputs = {"question": "q", "tone": "calm"}
    alone = Signature("question, tone: str | None -> answer, score: float")
    assert adapter.format(CHAT, [DEMO], {"history": value, **inputs}) == adapter.format(alone, [DEMO], inputs)


@pytest.mark.parametrize("adapter", [ChatAdapter(), JSONAdapter(), PlainAdapter(), XMLAdapter()], ids=lambda a: a.name)
def test_what_is_none_is_never_shown_as_a_word(adapter):
    for _, text in said(adapter, *TURNS, tone="calm"):
        shown = text.replace("str | None", "")
        assert "None" not in shown
        assert "null" not in shown


def test_turns_have_their_pictures():
    signature = Signature("history: dspex.History, image: dspex.Image -> label")
    picture = Image("https://host/cat.png")
    for turn in ({"image": picture, "label": "cat"}, {"image": picture.toDict(), "label": "cat"}):
        messages = ChatAdapter().format(signature, [], {"history": History([turn]), "image": picture})
        assert messages[1]["content"][1] == picture.format()[0]


def test_a_turn_that_is_none_is_named():
    with pytest.raises(InputError, match="'role: user'"):
        History(["role: user"])
    with pytest.raises(InputError, match="role, content"):
        said(ChatAdapter(), {"role": "user", "content": "hi"})


async def test_a_conversation_goes_on():
    lm = DummyLM([{"answer": "a1"}, {"answer": "a2"}])
    predict = dspex.Predict("history: dspex.History, question -> answer")
    history = dspex.History(messages=[])
    with dspex.context(lm=lm):
        for question in ("q1", "q2"):
            outputs = await predict.acall(question=question, history=history)
            history.messages.append({"question": question, **outputs})
    assert [turn["answer"] for turn in history.messages] == ["a1", "a2"]
    assert [message["role"] for message in lm.history[-1]["messages"]] == ["system", "user", "assistant", "user"]
    assert dspex.Example(history=history).toDict() == {"history": {"messages": history.messages}}


@pytest.mark.parametrize("form", [dspex.ChatAdapter(), dspex.JSONAdapter(), dspex.XMLAdapter()])
@pytest.mark.parametrize(
    "given", [History([{"question": "Who?", "answer": "Ada"}]), {"messages": [{"question": "Who?"}]}]
)
def test_a_demo_is_shown_with_the_turns_that_it_was_made_with(form, given):
    signature = Signature("history: dspex.History, question -> answer")
    demos = [
        {"history": given, "question": "And when?", "answer": "1843"},
        {"history": {"messages": []}, "question": "Why?", "answer": "So"},
        {"question": "How?", "answer": "Thus"},
    ]
    messages = form.format(signature, demos, {"history": History(), "question": "Now?"})
    asked = [message["content"] for message in messages if message["role"] == "user"]
    assert len(asked) == 4
    assert ["Who?" in text for text in asked] == [True, False, False, False]
    assert ["history" in text for text in asked] == [True, False, False, False]
