"""Texts become vectors: batched, cached by text, tried again, paid for once."""

import array
import asyncio
import struct
import sys
import threading

import msgspec
import pytest

import dspex
from dspex.plugin import Usage, Vectors
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.testing import VirtualClock, simulate


def vector(text):
    return [float(len(text)), 1.0, 0.0]


def vectors(texts, usage=None):
    return Vectors(array.array("f", [value for text in texts for value in vector(text)]), 3, usage)


class Options(msgspec.Struct):
    dimensions: int = 3


class Provider:
    """An EmbeddingProvider: `batches` holds what came, `steps` what happens at each call before it goes well."""

    def __init__(self, endpoint=None, http=None):
        self.endpoint, self.batches, self.steps, self.seconds = endpoint, [], [], 0.0
        self.now = self.most = 0

    async def embed(self, texts):
        self.batches.append(texts)
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.now -= 1
        step = self.steps.pop(0) if self.steps else None
        if isinstance(step, Exception):
            raise step
        return vectors(texts, Usage(7)) if step is None else step


class Cache:
    """A CacheBackend in memory."""

    def __init__(self):
        self.kept = {}

    async def get(self, key):
        return self.kept.get(key)

    async def set(self, key, value, ttl=None):
        self.kept[key] = value

    async def delete(self, key):
        self.kept.pop(key, None)

    async def clear(self):
        self.kept.clear()

    async def aclose(self):
        pass


class World:
    """An App in virtual time with one plugin, `acme`, whose providers are in `made`."""

    def __init__(self):
        self.made = []
        self.prepare = lambda provider: None

    def factory(self, endpoint, http):
        provider = Provider(endpoint, http)
        self.prepare(provider)
        self.made.append(provider)
        return provider

    @property
    def batches(self):
        return [batch for provider in self.made for batch in provider.batches]

    def run(self, main, **settings):
        spec = dspex.Spec("acme", self.factory, options=Options)
        plugin = type("Plugin", (), {"dspex_embedders": staticmethod(dspex.hookimpl(lambda: [spec]))})
        plugins = PluginManager(lambda: [Source("acme", plugin)], environ={})

        async def inside():
            async with dspex.App(clock=VirtualClock(), plugins=plugins, seed=1, **{"cache": Cache(), **settings}):
                return await main()

        return simulate(inside)[0]


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", None)
    return World()


def rows(result):
    return [list(row) for row in result]


# What comes out


def test_a_text_gives_a_vector_and_a_list_gives_rows(world):
    async def main():
        embedder = dspex.Embedder("acme/small")
        return await embedder.acall("ab"), await embedder.acall(["a", "abc"]), await embedder.acall([])

    one, many, none = world.run(main)
    assert list(one) == vector("ab")
    assert rows(many) == [vector("a"), vector("abc")]
    assert len(none) == 0


def test_with_numpy_they_are_float32_arrays(monkeypatch):
    numpy = pytest.importorskip("numpy")

    async def main():
        embedder = dspex.Embedder("acme/small")
        return await embedder.acall("ab"), await embedder.acall(["a", "abc"]), await embedder.acall([])

    one, many, none = World().run(main)
    assert (one.shape, many.shape, none.shape) == ((3,), (2, 3), (0, 0))
    assert {one.dtype, many.dtype, none.dtype} == {numpy.dtype("float32")}
    many[0] = 0.0  # it is the caller's own


def test_the_sync_form_works_without_a_loop_and_within_one():
    embedder = dspex.Embedder(lambda texts: [vector(text) for text in texts])
    assert list(embedder("ab")) == vector("ab")

    async def inside():
        return list(embedder("ab"))

    assert asyncio.run(inside()) == vector("ab")


@pytest.mark.parametrize("given", ["no-provider", 4, None, "x"], ids=repr)
def test_another_kind_of_model_is_a_value_error(given):
    with pytest.raises(ValueError, match="Embedder"):
        dspex.Embedder(given)


@pytest.mark.parametrize("inputs", [["a", 4], [None], [["a"]]], ids=repr)
def test_what_is_no_text_is_refused_before_any_call(world, inputs):
    async def main():
        with pytest.raises(dspex.InputError, match="a text or a list of texts"):
            await dspex.Embedder("acme/small").acall(inputs)

    world.run(main)
    assert not world.batches


def test_an_option_reaches_the_provider_and_an_unknown_one_is_refused(world):
    async def main():
        await dspex.Embedder("acme/small", dimensions=8).acall("a")
        with pytest.raises(dspex.ConfigurationError, match=r"'dimension' is no option.*Did you mean 'dimensions'"):
            await dspex.Embedder("acme/small", dimension=8).acall("a")

    world.run(main)
    assert world.made[0].endpoint.options == {"dimensions": 8}


def test_an_unknown_provider_is_named_with_those_there_are(world):
    async def main():
        with pytest.raises(dspex.ConfigurationError, match=r"No embedder 'acm'.*Did you mean 'acme'"):
            await dspex.Embedder("acm/small").acall("a")

    world.run(main)


# Batches


@pytest.mark.parametrize(("size", "batches"), [(200, [4]), (2, [2, 2]), (3, [3, 1])])
def test_texts_go_in_batches_and_equal_ones_once(world, size, batches):
    async def main():
        return rows(await dspex.Embedder("acme/small", batch_size=size).acall(["a", "bb", "a", "ccc", "dddd"]))

    assert world.run(main) == [vector("x" * length) for length in (1, 2, 1, 3, 4)]
    assert sorted(map(len, world.batches), reverse=True) == batches


def test_the_highest_finite_numbers_are_vectors_too(world):
    highest = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]

    async def main():
        return rows(await dspex.Embedder(lambda texts: [[highest, -highest]]).acall(["a"]))

    assert world.run(main) == [[highest, -highest]]


@pytest.mark.parametrize("size", [0, -1, "all"])
def test_a_batch_of_no_text_is_refused(world, size):
    async def main():
        with pytest.raises(dspex.ConfigurationError, match=f"batch_size={size!r}"):
            await dspex.Embedder("acme/small").acall(["a"], batch_size=size)

    world.run(main)
    with pytest.raises(dspex.ConfigurationError, match=f"batch_size={size!r}"):
        dspex.Embedder("acme/small", batch_size=size)


@pytest.mark.parametrize(
    ("takes", "batches"),
    [
        ({"most_texts": 2}, [["a", "bb"], ["ééé", "d"]]),
        ({"most_bytes": 6}, [["a", "bb"], ["ééé"], ["d"]]),
        ({"most_texts": 9, "most_bytes": 2}, [["a"], ["bb"], ["ééé"], ["d"]]),
    ],
    ids=repr,
)
def test_what_a_provider_takes_at_a_time_bounds_a_batch(world, takes, batches):
    world.prepare = lambda provider: vars(provider).update(takes)

    async def main():
        with dspex.budget(calls=len(batches)) as spent:
            made = await dspex.Embedder("acme/small", batch_size=3).acall(["a", "bb", "ééé", "d"])
        return rows(made), spent.spent.calls

    assert world.run(main) == ([vector(text) for text in ("a", "bb", "ééé", "d")], len(batches))
    assert sorted(world.batches) == sorted(batches)


def test_a_part_that_failed_is_sent_again_alone(world):
    def prepare(provider):
        provider.most_texts, provider.steps = 1, [None, dspex.RateLimited("slow down")]

    world.prepare = prepare

    async def main():
        return rows(await dspex.Embedder("acme/small").acall(["a", "b", "c"]))

    assert world.run(main) == [vector(text) for text in "abc"]
    assert sorted(world.batches) == [["a"], ["b"], ["b"], ["c"]]


def test_of_very_many_batches_a_few_dozen_are_under_way(world):
    world.prepare = lambda provider: setattr(provider, "seconds", 1.0)

    async def main():
        await dspex.Embedder("acme/small", batch_size=1).acall([str(number) for number in range(200)])

    world.run(main)
    assert (len(world.batches), world.made[0].most) == (200, 64)


def test_batches_of_a_plugin_go_side_by_side_and_max_in_flight_bounds_them(world):
    world.prepare = lambda provider: setattr(provider, "seconds", 1.0)

    async def main():
        texts = [str(number) for number in range(6)]
        await dspex.Embedder("acme/small", batch_size=1).acall(texts)
        await dspex.Embedder("acme/small", batch_size=1, max_in_flight=2, caching=False).acall(texts)

    world.run(main)
    assert [provider.most for provider in world.made] == [6, 2]


def test_the_error_of_one_batch_comes_out_as_it_is(world):
    world.prepare = lambda provider: setattr(provider, "steps", [None, dspex.BadRequest("too long")])

    async def main():
        with pytest.raises(dspex.BadRequest, match=r"\[acme/small\] too long"):
            await dspex.Embedder("acme/small", batch_size=1).acall(["a", "b"])

    world.run(main)


# The cache


def test_only_what_was_never_asked_is_asked(world):
    async def main():
        embedder = dspex.Embedder("acme/small")
        await embedder.acall(["a", "bb"])
        return rows(await embedder.acall(["bb", "ccc", "a"]))

    assert world.run(main) == [vector("bb"), vector("ccc"), vector("a")]
    assert world.batches == [["a", "bb"], ["ccc"]]


@pytest.mark.parametrize("other", [{"api_base": "http://other"}, {"dimensions": 8}], ids=str)
def test_other_endpoints_and_options_have_vectors_of_their_own(world, other):
    async def main():
        await dspex.Embedder("acme/small").acall("a")
        await dspex.Embedder("acme/small", **other).acall("a")
        await dspex.Embedder("acme/large").acall("a")

    world.run(main)
    assert len(world.batches) == 3


@pytest.mark.parametrize(("by_handle", "by_call", "asked"), [(True, None, 1), (True, False, 2), (False, None, 2)])
def test_caching_can_be_off(world, by_handle, by_call, asked):
    async def main():
        embedder = dspex.Embedder("acme/small", caching=by_handle)
        for _ in range(2):
            await embedder.acall("a", caching=by_call)

    world.run(main)
    assert len(world.batches) == asked


def test_equal_calls_in_flight_are_one(world):
    world.prepare = lambda provider: setattr(provider, "seconds", 1.0)

    async def main():
        embedder = dspex.Embedder("acme/small")
        with dspex.track_usage() as usage:
            await asyncio.gather(*(embedder.acall(["a", "bb"]) for _ in range(100)))
        return usage.total.calls, usage.total.input_tokens

    assert world.run(main) == (1, 7)
    assert len(world.batches) == 1


def test_a_damaged_entry_is_a_miss(world):
    cache = Cache()

    async def main():
        embedder = dspex.Embedder("acme/small")
        await embedder.acall("a")
        cache.kept = dict.fromkeys(cache.kept, b"junk!")
        return list(await embedder.acall("a"))

    with pytest.warns(RuntimeWarning, match="cannot read"):
        assert world.run(main, cache=cache) == vector("a")


def test_a_model_that_changed_its_size_is_said_so(world):
    steps = [Vectors(array.array("f", [1.0]), 1)]
    world.prepare = lambda provider: setattr(provider, "steps", steps)

    async def main():
        embedder = dspex.Embedder("acme/small")
        await embedder.acall("a")
        with pytest.raises(dspex.ProtocolError, match=r"1, 3 values.*dspex\.cache\.clear\(\)"):
            await embedder.acall(["a", "bb"])

    world.run(main)


# Functions


def test_a_function_is_cached_only_by_a_key(world):
    asked = []

    def function(texts):
        asked.append(texts)
        return [vector(text) for text in texts]

    async def main():
        for key in (None, None, "v1", "v1", "v2"):
            await dspex.Embedder(function, cache_key=key).acall("a")

    world.run(main)
    assert len(asked) == 4


@pytest.mark.fault("X12")
def test_two_functions_of_one_name_never_share_vectors(world):
    def made(value):
        return lambda texts: [[value]] * len(texts)

    async def main():
        return [list(await dspex.Embedder(made(value)).acall("a")) for value in (1.0, 2.0)]

    assert world.run(main) == [[1.0], [2.0]]


def test_handles_on_one_function_share_what_is_in_flight(world):
    asked = []

    async def function(texts):
        asked.append(texts)
        await asyncio.sleep(1)
        return [[1.0]] * len(texts)

    async def main():
        await asyncio.gather(*(dspex.Embedder(function, cache_key="v1").acall("a") for _ in range(10)))

    world.run(main)
    assert len(asked) == 1


async def doubled(texts, factor):
    return [[factor * len(text)] for text in texts]


class Table:
    """As an array or tensor: rows that say their plain form."""

    def __init__(self, rows):
        self.rows = rows

    def tolist(self):
        return self.rows


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (lambda texts, factor: [[factor * len(text)] for text in texts], {"factor": 2}),
        (doubled, {"factor": 2}),
        (lambda texts: Table([[2.0 * len(text)] for text in texts]), {}),
        (lambda texts: Vectors(array.array("f", [2.0 * len(text) for text in texts]), 1), {}),
    ],
    ids=["list", "async", "tensor", "Vectors"],
)
def test_a_function_may_give_rows_in_any_usual_form(world, function, options):
    async def main():
        return rows(await dspex.Embedder(function, **options).acall(["a", "bb"]))

    assert world.run(main) == [[2.0], [4.0]]


def test_keywords_of_a_call_go_before_those_of_the_handle(world):
    embedder = dspex.Embedder(doubled, cache_key="v1", factor=2)

    async def main():
        calls = ({}, {"factor": 3}, {}, {"factor": 3})
        return [rows(await embedder.acall(["a"], **keywords)) for keywords in calls]

    assert world.run(main) == [[[2.0]], [[3.0]], [[2.0]], [[3.0]]]
    assert embedder.kwargs == {"factor": 2}


def test_a_keyword_of_a_call_that_the_provider_does_not_know_is_refused(world):
    async def main():
        with pytest.raises(dspex.ConfigurationError, match="dimension"):
            await dspex.Embedder("acme/m").acall("a", dimension=9)
        await dspex.Embedder("acme/m").acall("a", dimensions=9)

    world.run(main)
    assert [provider.endpoint.options for provider in world.made] == [{"dimensions": 9}]


def test_a_sync_function_runs_in_a_thread_one_batch_after_the_other():
    seen, lock = [], threading.Lock()

    def function(texts):
        assert lock.acquire(blocking=False)
        seen.append(threading.get_ident())
        lock.release()
        return [[1.0]] * len(texts)

    asyncio.run(dspex.Embedder(function, batch_size=1).acall(["a", "b", "c"]))
    assert len(seen) == 3
    assert threading.get_ident() not in seen


@pytest.mark.parametrize(
    "given",
    [
        None,
        [1.0, 2.0],
        [[1.0], [1.0, 2.0]],
        [[1.0]],
        [["x"], ["y"]],
        [[10**400], [1.0]],
        [[1.0, 2.0], [float("nan"), 3.0]],
        [[1.0], [float("-inf")]],
    ],
    ids=["None", "flat", "ragged", "few", "words", "huge", "nan", "inf"],
)
def test_a_function_that_gives_something_else_is_told(world, given):
    async def main():
        with pytest.raises(dspex.ProtocolError):
            await dspex.Embedder(lambda texts: given).acall(["a", "b"])

    world.run(main)


# Retry, time, budget


def test_a_transient_failure_is_tried_again(world):
    world.prepare = lambda provider: setattr(
        provider, "steps", [dspex.RateLimited("slow down"), dspex.Unavailable("x")]
    )

    async def main():
        return list(await dspex.Embedder("acme/small").acall("a"))

    assert world.run(main) == vector("a")
    assert len(world.batches) == 3


@pytest.mark.parametrize(
    ("step", "kind", "asked"),
    [
        (dspex.AuthError("no"), dspex.AuthError, 1),
        (KeyError("odd"), dspex.PluginError, 2),
        (Vectors(b"", 0), dspex.ProtocolError, 1),
        ("text", dspex.ProtocolError, 1),
    ],
    ids=["auth", "foreign", "empty", "no vectors"],
)
def test_other_failures_are_typed(world, step, kind, asked):
    world.prepare = lambda provider: setattr(provider, "steps", [step] * 9)

    async def main():
        with pytest.raises(kind):
            await dspex.Embedder("acme/small").acall("a")

    world.run(main)
    assert len(world.batches) == asked


@pytest.mark.parametrize(("timeout", "seconds"), [(None, 120), (2.0, 2)])
def test_a_batch_has_a_deadline(world, timeout, seconds):
    world.prepare = lambda provider: setattr(provider, "seconds", 1e5)

    async def main():
        with pytest.raises(dspex.LMTimeout, match=f"No reply within {seconds} s"):
            await dspex.Embedder("acme/small", timeout=timeout).acall("a")
        return asyncio.get_running_loop().time()

    assert world.run(main) == pytest.approx(seconds, rel=0.01)


def test_an_endpoint_in_trouble_is_left_alone_and_limits_hold(world):
    world.prepare = lambda provider: setattr(provider, "steps", [dspex.Unavailable("down")] * 20)

    async def main():
        options = {"caching": False, "num_retries": 0, "requests_per_minute": 600}
        failures = []
        for _ in range(25):
            try:
                await dspex.Embedder("acme/small", **options).acall("a")
            except dspex.LMError as error:
                failures.append(type(error))
        await asyncio.sleep(2)
        await dspex.Embedder("acme/small", **options).acall("a")
        return failures

    failures = world.run(main)
    assert failures == [dspex.Unavailable] * 20 + [dspex.CircuitOpen] * 5
    assert len(world.batches) == 21


def test_budgets_and_usage_hold_as_for_an_lm(world):
    async def main():
        embedder = dspex.Embedder("acme/small", batch_size=1)
        with dspex.budget(calls=2) as budget, dspex.track_usage() as usage:
            await embedder.acall(["a", "bb"])
            with pytest.raises(dspex.BudgetExceeded):
                await embedder.acall("ccc")
            await embedder.acall("a")  # kept: costs nothing
        return budget.spent.calls, budget.spent.tokens, usage.total.input_tokens

    assert world.run(main) == (2, 14, 14)
    assert len(world.batches) == 2


def test_an_unknown_price_under_a_budget_in_usd_is_an_error_at_once(world):
    async def main():
        with dspex.budget(usd=1.0) as budget:
            with pytest.raises(dspex.ConfigurationError, match="price of 'acme/small'"):
                await dspex.Embedder("acme/small").acall("a")
            await dspex.Embedder(lambda texts: [[1.0]]).acall("a")  # a function of one's own costs nothing
            dspex.configure(prices={"acme/small": (1.0, 0.0)})
            await dspex.Embedder("acme/small").acall("a")
        return budget.spent.usd

    assert world.run(main) == pytest.approx(7e-6)


def test_subscribers_hear_of_each_batch(world):
    heard = []

    async def main():
        dspex.app.app.current_app().bus.subscribe(heard.append, "test")
        await dspex.Embedder("acme/small", batch_size=1).acall(["a", "b"])

    world.run(main)
    ends = [(event.provider, event.model, event.usage.input_tokens) for event in heard if hasattr(event, "seconds")]
    assert ends == [("acme", "small", 7)] * 2


# As a value


def test_its_state_and_identity_hold_no_key(world):
    async def main():
        embedder = dspex.Embedder("acme/small", api_key="sk-canary", headers={"x": "sk-canary"}, dimensions=8)
        await embedder.acall("a")
        return embedder.dump_state(), embedder.identity, repr(embedder)

    state, identity, shown = world.run(main)
    assert state == {"model": "acme/small", "batch_size": 200, "caching": True, "dimensions": 8}
    assert identity == {"provider": "acme", "base_url": None, "model": "small", "options": {"dimensions": 8}}
    assert "sk-canary" not in f"{state}{identity}{shown}"


def test_a_functions_identity_is_its_key_or_name():
    assert dspex.Embedder(doubled, cache_key="v1").identity["model"] == "v1"
    assert dspex.Embedder(doubled).identity["model"].endswith(".doubled")
    assert dspex.Embedder(doubled).dump_state()["model"].endswith(".doubled")
