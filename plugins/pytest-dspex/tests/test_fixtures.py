"""Each test has an App of its own, and doubles at hand."""

LEAVES = """
import dspex

def test_first(dspex_app, tmp_path):
    dspex.configure(max_errors=3)
    assert dspex.settings.max_errors == 3
    assert dspex.App is type(dspex_app)
    assert dspex_app.settings.own("cache") is False

def test_second(dspex_app):
    assert dspex.settings.max_errors == 10

def test_third():
    assert dspex.settings.max_errors == 10
"""


def test_settings_of_one_test_reach_no_other(run):
    run(LEAVES).assert_outcomes(passed=3)


MODEL = """
import dspex

def test_a_scripted_model(dummy_lm):
    lm = dummy_lm([{"answer": "4"}, {"answer": "5"}])
    ask = dspex.Predict("question -> answer")
    assert [ask(question="a").answer, ask(question="b").answer] == ["4", "5"]
    assert len(lm.history) == 2

def test_by_text_and_reasoning(dummy_lm):
    dummy_lm({"moon": {"answer": "far"}}, reasoning=True)
    assert dspex.Predict("question -> answer")(question="the moon?").answer == "far"

def test_a_server_that_fails(dspex_app, fault_server):
    fault_server.then(404, json={"error": {"message": "gone"}}, times=None)

    class Provider:
        def __init__(self, url): self.url = url
        async def complete(self, request):
            import aiohttp
            async with aiohttp.ClientSession() as session, session.get(self.url) as reply:
                raise dspex.plugin.BadRequest(f"status {reply.status}")

    lm = dspex.LM("x/y", provider=Provider(fault_server.url))
    try:
        lm("hello")
    except dspex.LMError as error:
        assert "status 404" in str(error)
    assert len(fault_server.requests) == 1
"""


def test_doubles_are_fixtures(run):
    run(MODEL).assert_outcomes(passed=3)


ASYNC = """
import asyncio, dspex, pytest

@pytest.mark.asyncio
async def test_in_its_own_loop(dummy_lm):
    dummy_lm([{"answer": "4"}])
    assert (await dspex.Predict("question -> answer").acall(question="2+2?")).answer == "4"

@pytest.mark.asyncio
async def test_many_at_once(dummy_lm):
    dummy_lm({"": {"answer": "4"}})
    ask = dspex.Predict("question -> answer")
    found = await asyncio.gather(*(ask.acall(question=str(n)) for n in range(20)))
    assert {one.answer for one in found} == {"4"}
"""


def test_async_tests_have_them_too(run):
    run(ASYNC).assert_outcomes(passed=2)


def test_without_pytest_asyncio_and_xdist_all_else_works(run, pytester):
    pytester.makeini("[pytest]")
    run(MODEL, "-p", "no:asyncio", "-p", "no:xdist", process=True).assert_outcomes(passed=3)


def test_side_by_side_in_processes(run):
    run(MODEL + LEAVES, "-n", "2", process=True).assert_outcomes(passed=6)


def test_a_run_that_never_meets_dspex_does_not_import_it(run):
    source = """
import sys

def test_nothing():
    assert not [name for name in sys.modules if name == "dspex" or name.startswith("dspex.")]
    assert "aiohttp" not in sys.modules
"""
    run(source, process=True).assert_outcomes(passed=1)
