"""A method of one's own that callbacks hear of, by DSPy's decorator."""

import pytest

import dspex
from dspex.utils import with_callbacks


class Heard(dspex.BaseCallback):
    def __init__(self):
        self.lines = []

    def on_module_start(self, call_id, instance, inputs):
        self.lines.append(("module", inputs))

    def on_module_end(self, call_id, outputs, exception):
        self.lines.append((outputs, exception))

    def on_adapter_parse_start(self, call_id, instance, inputs):
        self.lines.append(("parse", list(inputs)))


class Sum(dspex.Module):
    @with_callbacks
    def add(self, one, other=2):
        return one + other

    @with_callbacks
    async def later(self, one, other=2):
        return one + other


@pytest.mark.parametrize(
    ("args", "kwargs"), [((1,), {}), ((1, 2), {}), ((), {"one": 1}), ((1,), {"other": 2})], ids=str
)
async def test_a_decorated_method_tells_its_arguments_by_name(args, kwargs):
    heard = Heard()
    with dspex.context(callbacks=[heard]):
        assert Sum().add(*args, **kwargs) == 3
        assert await Sum().later(*args, **kwargs) == 3
    assert heard.lines == [("module", {"one": 1, "other": 2}), (3, None)] * 2


def test_an_object_s_own_callbacks_hear_of_it_alone():
    heard = Heard()
    Sum(callbacks=[heard]).add(1)
    Sum().add(5)
    assert heard.lines == [("module", {"one": 1, "other": 2}), (3, None)]


def test_an_error_is_told_and_raised():
    heard = Heard()
    with dspex.context(callbacks=[heard]), pytest.raises(TypeError) as raised:
        Sum().add("a")
    assert heard.lines[-1] == (None, raised.value)


def test_the_kind_is_that_of_the_object():
    class Shout(dspex.ChatAdapter):
        @with_callbacks
        def parse(self, signature, completion):
            return {}

        @with_callbacks
        def shout(self):
            return "!"

    heard = Heard()
    with dspex.context(callbacks=[heard]):
        Shout().parse("question -> answer", "?")
        with pytest.raises(dspex.ConfigurationError, match=r"Shout\.shout is neither"):
            Shout().shout()
    assert heard.lines == [("parse", ["signature", "completion"])]
