"""Middleware stands around every logical call and may do what it likes with it."""

import msgspec
import pytest

import dspex
from dspex.plugin import LMResponse, Message


async def through(request, call_next):
    return await call_next(request)


async def twice(request, call_next):
    await call_next(request)
    return await call_next(msgspec.structs.replace(request, messages=(Message.of("user", "again?"),)))


async def never(request, call_next):
    return LMResponse.from_text("not asked")


async def none(request, call_next):
    await call_next(request)


async def raises(request, call_next):
    raise KeyError("odd")


@pytest.mark.fault("G09")
@pytest.mark.parametrize(("middleware", "given", "sent"), [(through, "4", 1), (twice, "4", 2), (never, "not asked", 0)])
def test_a_middleware_calls_next_as_often_as_it_likes(virtual, script, middleware, given, sent):
    provider = script()

    async def main():
        with dspex.budget(calls=2) as budget:
            return await dspex.LM("x/y", provider=provider).acall("2+2?"), budget.spent.calls

    assert virtual(main, middleware=[middleware]) == ([given], sent)


@pytest.mark.fault("G09")
@pytest.mark.parametrize(("middleware", "kind"), [(none, dspex.ProtocolError), (raises, dspex.PluginError)])
def test_a_middleware_that_breaks_its_contract_is_named(virtual, script, settled, middleware, kind):
    async def main():
        return await settled(dspex.LM("x/y", provider=script()).acall("2+2?"))

    [done] = virtual(main, middleware=[middleware])
    assert type(done.error) is kind
    assert "The middleware" in str(done.error)


def test_errors_of_a_call_pass_through_unchanged(virtual, script, settled):
    error = dspex.BadRequest("no")

    async def main():
        return await settled(dspex.LM("x/y", provider=script(error)).acall("2+2?"))

    [done] = virtual(main, middleware=[through, through])
    assert done.error is error


def test_the_first_middleware_is_the_outermost(virtual, script):
    order = []

    def named(name):
        async def middleware(request, call_next):
            order.append(f"{name} in")
            reply = await call_next(request)
            order.append(f"{name} out")
            return reply

        return middleware

    async def main():
        await dspex.LM("x/y", provider=script()).acall("2+2?")

    virtual(main, middleware=[named("a"), named("b")])
    assert order == ["a in", "b in", "b out", "a out"]
