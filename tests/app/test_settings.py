"""Settings: the App's own, and what a block lays over them for itself and all below it."""

import asyncio
import random
import re
import threading
from datetime import datetime, timedelta

import pytest

import dspex
from dspex.plugin import LMResponse, Usage


class Provider:
    """Answers with its model's name; a model that is named so fails."""

    async def complete(self, request):
        await asyncio.sleep(0.001)
        if request.model == "fails":
            raise dspex.BadRequest("no")
        return LMResponse.from_text(f"[[ ## answer ## ]]\n{request.model}", Usage(3, 2))


def lm(name, **options):
    return dspex.LM(f"x/{name}", provider=Provider(), cache=False, **options)


@pytest.mark.parametrize("change", [dspex.configure, dspex.settings.configure])
def test_a_setting_is_in_force_once_it_is_set(change):
    first = lm("first")
    change(lm=first, num_threads=3)
    assert dspex.settings.lm is first
    assert (dspex.settings.num_threads, dspex.settings.get("num_threads")) == (3, 3)
    dspex.settings.num_threads = 4
    assert dspex.settings.num_threads == 4
    assert dspex.settings.get("no_such_setting", 7) == 7


def test_a_copy_puts_everything_back():
    dspex.configure(lm=lm("first"), num_threads=3)
    before = dspex.settings.copy()
    dspex.configure(lm=None, num_threads=5, max_errors=1)
    dspex.configure(**before)
    assert dspex.settings.copy() == before


def test_a_copy_makes_a_block_of_the_same_settings_elsewhere():
    dspex.configure(budget=dspex.Budget(calls=9))
    with dspex.context(lm=lm("first"), num_threads=3):
        copied = dspex.settings.copy()
    with dspex.context(**copied):
        assert (dspex.settings.num_threads, dspex.settings.lm.model) == (3, "x/first")
    dspex.configure(budget=dspex.Budget(calls=5))
    with pytest.raises(dspex.ConfigurationError, match=r"use dspex.configure\(budget="), dspex.context(**copied):
        pass


@pytest.mark.parametrize(
    "given",
    [
        {"budget": 5},
        {"budget": {"calls": 5}},
        {"max_history_size": -1},
        {"num_threads": "many"},
        {"watchdog": -1},
        {"callbacks": 5},
        {"middleware": "retry"},
        {"prices": [1.0]},
        {"prefer": "acme"},
        {"redact": "email"},
        {"trace": ()},
    ],
    ids=str,
)
@pytest.mark.parametrize("change", [dspex.configure, dspex.App])
def test_a_value_that_cannot_be_is_refused_when_it_is_given(change, given):
    [(name, value)] = given.items()
    before = dspex.settings.copy()
    with pytest.raises(dspex.ConfigurationError, match=f"^{name}={re.escape(repr(value))}"):
        change(**given)
    assert dspex.settings.copy() == before


CHANGES = [dspex.configure, dspex.App, lambda **given: dspex.context(**given).__enter__()]


@pytest.mark.parametrize("change", CHANGES, ids=["configure", "App", "context"])
@pytest.mark.parametrize(
    ("name", "says"),
    [("nope", "No adapter 'nope'.*Installed: .*chat, .*json, .*plain, .*xml"), ("two_step", "needs a second model")],
)
def test_the_name_of_no_adapter_is_refused_when_it_is_given(change, name, says):
    before = dspex.settings.copy()
    with pytest.raises(dspex.ConfigurationError, match=says):
        change(adapter=name)
    assert dspex.settings.copy() == before


@pytest.mark.parametrize("change", CHANGES, ids=["configure", "App", "context"])
def test_no_plugin_is_looked_at_for_an_adapter_of_our_own(change, monkeypatch):
    monkeypatch.setattr(dspex.App, "plugins", property(lambda app: pytest.fail("they were looked at")))
    for name in ("chat", "json", "xml", "plain", dspex.ChatAdapter()):
        change(adapter=name)


def test_what_is_no_cache_is_refused():
    dspex.configure(cache=3)
    with pytest.raises(dspex.ConfigurationError, match="cache=3 is no CacheBackend"):
        lm("a").copy(cache=True)("?")


@pytest.mark.parametrize("change", CHANGES)
def test_an_unknown_setting_is_refused_with_the_nearest(change):
    with pytest.raises(dspex.ConfigurationError, match=r"no setting 'num_thread'\. Did you mean 'num_threads'"):
        change(num_thread=3)


def test_an_unknown_setting_is_no_attribute():
    with pytest.raises(AttributeError, match="no setting 'nothing'"):
        _ = dspex.settings.nothing
    assert not hasattr(dspex.settings, "nothing")


@pytest.mark.parametrize(
    ("name", "value"),
    [("cache", False), ("middleware", []), ("budget", dspex.Budget(calls=1)), ("prefer", {}), ("watchdog", 1.0)],
)
def test_what_belongs_to_the_whole_app_is_refused_in_a_context(name, value):
    with (
        pytest.raises(dspex.ConfigurationError, match=rf"use dspex.configure\({name}="),
        dspex.context(**{name: value}),
    ):
        pass


def test_contexts_nest_and_end():
    dspex.configure(num_threads=1)
    with dspex.context(num_threads=2, max_errors=5):
        with dspex.context(num_threads=3):
            assert (dspex.settings.num_threads, dspex.settings.max_errors) == (3, 5)
        assert dspex.settings.num_threads == 2
        dspex.configure(num_threads=9)  # the App's own, below the block's
        assert dspex.settings.num_threads == 2
    assert dspex.settings.num_threads == 9


def test_a_context_ends_with_an_error():
    with pytest.raises(KeyError), dspex.context(num_threads=2):
        raise KeyError
    assert dspex.settings.num_threads != 2


def test_a_context_does_not_reach_threads_that_it_did_not_start():
    seen = []
    inside, done = threading.Event(), threading.Event()

    def look():
        inside.wait()
        seen.append(dspex.settings.num_threads)
        done.set()

    threading.Thread(target=look).start()
    with dspex.context(num_threads=2):
        inside.set()
        done.wait()
    assert seen == [64]


async def test_a_context_reaches_tasks_and_forwards_in_threads():
    class Forward(dspex.Module):
        def forward(self):
            return dspex.settings.num_threads, dspex.Predict("question -> answer")(question="?").answer

    with dspex.context(num_threads=2, lm=lm("inner")):
        task = asyncio.create_task(Forward().acall())
    assert await task == (2, "inner")


def test_any_task_and_thread_may_configure():
    async def main():
        dspex.configure(num_threads=5)
        await asyncio.to_thread(dspex.configure, max_errors=6)

    asyncio.run(main())
    assert (dspex.settings.num_threads, dspex.settings.max_errors) == (5, 6)


@pytest.mark.slow
@pytest.mark.fault("R20")
async def test_1000_requests_at_once_see_only_their_own():
    predict = dspex.Predict("question -> answer")
    rng = random.Random(3)
    kinds = ["fine"] * 8 + ["fails", "cancelled"]

    async def request(number, kind):
        settings = {"lm": lm("fails" if kind == "fails" else f"m{number}"), "num_threads": number, "trace": []}
        with dspex.context(**settings), dspex.track_usage() as usage, dspex.budget(calls=3) as budget:
            await asyncio.sleep(rng.random() / 100)
            answers = [(await predict.acall(question=f"{number}?")).answer for _ in range(1 + number % 3)]
            assert dspex.settings.num_threads == number
            assert set(answers) == {f"m{number}"}
            assert {inputs["question"] for _, inputs, _ in dspex.settings.trace} == {f"{number}?"}
            assert len(dspex.settings.trace) == len(answers) == budget.spent.calls
            assert usage.total.total_tokens == 5 * len(answers)
            return usage.total.total_tokens

    with dspex.track_usage() as everything:
        wanted = [(number, rng.choice(kinds)) for number in range(1000)]
        tasks = [asyncio.create_task(request(*one)) for one in wanted]
        await asyncio.sleep(0)
        for task, (_, kind) in zip(tasks, wanted, strict=True):
            if kind == "cancelled":
                task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome, (number, kind) in zip(done, wanted, strict=True):
        if kind == "fine":
            assert outcome == 5 * (1 + number % 3)
        else:
            assert isinstance(outcome, dspex.BadRequest if kind == "fails" else asyncio.CancelledError)
    assert everything.total.total_tokens == sum(one for one in done if isinstance(one, int))
    assert dspex.settings.trace is None
    assert dspex.settings.lm is None


def test_usage_is_counted_by_model():
    with dspex.track_usage() as usage:
        lm("a")("?")
        lm("b")("?")
        lm("b")("?")
    tokens = usage.get_total_tokens()
    assert {name: entry["total_tokens"] for name, entry in tokens.items()} == {"x/a": 5, "x/b": 10}


def test_history_is_bounded_and_can_be_off():
    one = lm("a")
    dspex.configure(max_history_size=3)
    for number in range(5):
        one(f"{number}?")
    assert [entry["messages"][0]["content"] for entry in one.history] == ["2?", "3?", "4?"]
    assert {"prompt", "messages", "kwargs", "outputs", "usage", "cost", "timestamp", "uuid", "model"} <= set(
        one.history[0]
    )
    made = [datetime.fromisoformat(entry["timestamp"]) for entry in one.history]
    assert made == sorted(made)
    assert abs(made[-1] - datetime.now()) < timedelta(minutes=5)  # noqa: DTZ005  local time, as DSPy's
    with dspex.context(disable_history=True):
        one("5?")
    assert len(one.history) == 3
