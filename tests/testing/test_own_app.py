"""A default App for a block: nothing of it is left, whatever happens in it."""

import pytest

import dspex
from dspex.app.app import default_app
from dspex.testing import DummyLM, own_app


def test_settings_and_models_of_a_block_are_gone_behind_it():
    dspex.configure(max_errors=7)
    before = default_app.get()
    with own_app(lm=DummyLM([{"answer": "4"}]), cache=False) as app:
        assert default_app.get() is app
        assert dspex.settings.max_errors == 10
        assert dspex.Predict("question -> answer")(question="2+2?").answer == "4"
    assert default_app.get() is before
    assert dspex.settings.max_errors == 7
    assert dspex.settings.lm is None


def test_an_error_in_the_block_puts_the_one_before_back_too():
    before = default_app.get()
    with pytest.raises(KeyError), own_app():
        raise KeyError("x")
    assert default_app.get() is before


def test_a_setting_that_is_none_is_refused_before_anything_changes():
    before = default_app.get()
    with pytest.raises(dspex.ConfigurationError, match="There is no setting 'lmm'"), own_app(lmm=None):
        pass
    assert default_app.get() is before


def test_what_the_block_opened_is_closed():
    closed = []

    class Provider:
        async def complete(self, request):
            return dspex.plugin.LMResponse.from_text("yes")

        async def aclose(self):
            closed.append(1)

    with own_app():
        assert dspex.LM("x/y", provider=Provider())("?") == ["yes"]
        assert not closed
    assert closed == [1]


def test_blocks_stand_inside_each_other():
    with own_app(max_errors=1):
        with own_app(max_errors=2):
            assert dspex.settings.max_errors == 2
        assert dspex.settings.max_errors == 1
