"""The plugin as its users meet it, on every supported Python."""

import dspex


def test_a_scripted_model_answers(dummy_lm):
    lm = dummy_lm([{"answer": "4"}])
    assert dspex.Predict("question -> answer")(question="2+2?").answer == "4"
    assert len(lm.history) == 1


async def test_in_a_loop_of_its_own(dummy_lm, dspex_app):
    dummy_lm([{"answer": "4"}])
    assert (await dspex.Predict("question -> answer").acall(question="2+2?")).answer == "4"
    assert dspex_app.settings.own("cache") is False


def test_a_server_answers_by_a_script(fault_server):
    fault_server.then(200, "yes")
    assert fault_server.url.startswith("http://127.0.0.1:")
