"""What an agent remembers: all of it as data, and a bounded text with the older steps summed up."""

import pytest

import dspex
from dspex.program.trajectory import Trajectory, listed, short
from dspex.testing import DummyLM

ANSWER = {"reasoning": "r", "answer": "4"}
FINISH = {"next_thought": "done", "next_tool_name": "finish", "next_tool_args": {}}


def fetch(page: int) -> str:
    """Reads a page."""
    return f"page {page} " + "x" * 300


def agent(**options):
    return dspex.ReAct("question -> answer", tools=[fetch], **options)


def steps(step, count):
    return [step(f"page {page}", "fetch", page=page) for page in range(count)]


def asked(lm, number):
    return lm.get_convo(number)[0][-1]["content"]


def test_older_steps_are_summed_up_by_the_model_and_kept_in_the_result(run, step):
    said = [*steps(step, 4), {"summary": "Pages 0 to 2 are dull."}, FINISH, ANSWER]
    lm = DummyLM(said)
    with dspex.context(lm=lm):
        found = run(agent(max_trajectory=1_400), question="?")
    summing, then = asked(lm, 4), asked(lm, 5)
    assert "page 0" in summing
    assert "page 2" in summing
    assert "Earlier steps, summed up:\n  Pages 0 to 2 are dull.\nStep 4\n" in then
    assert "page 0" not in then
    assert [found.trajectory[f"observation_{page}"] for page in range(4)] == [fetch(page) for page in range(4)]


def test_a_summary_of_the_users_own_takes_no_call(run, step):
    given = []

    async def summarise(text, most):
        given.append((text.count("Step "), most))
        return "mine"

    lm = DummyLM([*steps(step, 4), FINISH, ANSWER])
    with dspex.context(lm=lm):
        run(agent(max_trajectory=1_400, summarise=summarise), question="?")
    assert given == [(3, 350)]
    assert "mine\nStep 4" in asked(lm, 4)


def test_where_the_model_cannot_sum_up_calls_and_the_beginnings_of_results_stay(run, step, provider):
    script = provider(*steps(step, 4), dspex.RateLimited("busy"), FINISH, ANSWER)
    with dspex.context(lm=script.lm):
        assert run(agent(max_trajectory=1_400), question="?").answer == "4"
    text = script.asked[5].messages[-1].text
    assert 'call: fetch {"page":0}' in text
    assert "Step 4" in text


def test_a_long_run_stays_within_the_bound(run, step):
    seen = []
    lm = DummyLM([*steps(step, 40), FINISH, ANSWER])
    with dspex.context(lm=lm):
        program = agent(
            max_trajectory=2_000, max_iters=50, summarise=lambda text, most: seen.append(len(text)) or "s" * 9_999
        )
        found = run(program, question="?")
    assert max(len(asked(lm, number)) for number in range(42)) < 2_700
    assert max(seen) < 2_700
    assert len(found.trajectory) == 41 * 4
    # Each step is summed up once.
    assert sum(seen) < 41 * 400 + len(seen) * 600


def test_a_prompt_that_is_too_long_for_the_model_is_asked_again_shorter(run, step, provider):
    too_long = dspex.ContextWindowExceeded("too long")
    script = provider(*steps(step, 4), too_long, FINISH, ANSWER)
    with dspex.context(lm=script.lm):
        found = run(agent(summarise=lambda text, most: "short"), question="?")
    assert found.termination_reason == "finish"
    assert len(script.asked[5].messages[-1].text) < len(script.asked[4].messages[-1].text)
    assert len(found.trajectory) == 5 * 4


def test_where_nothing_can_be_shortened_the_agent_answers_or_the_error_is_the_callers(run, step, provider):
    too_long = dspex.ContextWindowExceeded("too long")
    script = provider(*steps(step, 1), too_long, ANSWER)
    with dspex.context(lm=script.lm):
        assert run(agent(), question="?").termination_reason == "context"
    script = provider(too_long, too_long)
    with dspex.context(lm=script.lm), pytest.raises(dspex.ContextWindowExceeded):
        run(agent(), question="?")


def test_one_huge_result_is_cut_in_the_middle_and_says_so():
    trajectory = Trajectory(400)
    trajectory.add("t", "fetch", {}, "a" * 500 + "z" * 500)
    assert "aaa ... (900 characters left out) ... zzz" in trajectory.text
    assert not trajectory.is_long
    assert trajectory.flat()["observation_0"] == "a" * 500 + "z" * 500


@pytest.mark.parametrize("most", [1, 2, 3, 9, 10, 11])
def test_a_short_text_keeps_both_ends(most):
    text = "0123456789"
    made = short(text, most)
    if most >= 10:
        assert made == text
    else:
        begin, end = made.split(f" ... ({10 - most} characters left out) ... ")
        assert text.startswith(begin)
        assert text.endswith(end)
        assert len(begin + end) == most


def test_a_list_of_a_list_keeps_what_it_had():
    trajectory = Trajectory(10_000)
    trajectory.add("think", "fetch", {"page": 1}, "one\ntwo")
    first = listed(trajectory.text, 1_000)
    assert first.splitlines() == ["thought: think", 'call: fetch {"page":1}', "result: one"]
    trajectory.summary = first
    assert listed(trajectory.text, 1_000).splitlines()[:3] == first.splitlines()
