"""What a provider of language models must do wherever its model runs, as tests that a plugin's own test class inherits."""

import asyncio
import copy
import os
import threading
import time
import warnings
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

import msgspec

from dspex.app.app import App
from dspex.app.lm import LM
from dspex.core.endpoint import Capabilities, Endpoint
from dspex.core.errors import BadRequest, DspexError
from dspex.core.messages import LMDelta, LMRequest, LMResponse
from dspex.core.secret import Secret
from dspex.plugin.contracts import HttpClient
from dspex.plugin.hookspecs import hookimpl
from dspex.plugin.manager import PluginManager
from dspex.plugin.sources import Source
from dspex.plugin.spec import Spec
from dspex.testing.lm_asks import ASKS, Ask

KEY = "sk-kit-canary-0123456789"
LOOPS, THREADS = 2, 2
NEVER = -1

Work = Callable[[LM], Awaitable[None]]


class LMInProcessContract:
    """For a provider whose model runs in this process; one that calls a server has more to hold: `LMProviderContract`.

    Subclass it as `TestMine` and give `spec`. `options` are further keywords of LM: the provider's own, and parameters
    by which equal questions have equal, short answers. `cannot` names what of `dspex.testing.ASKS` it refuses; all else
    it does. `tells_usage` False: it does not count tokens. `forks` False: it cannot live in a forked child.
    """

    model = "any"
    options: Mapping[str, Any] = MappingProxyType({})
    cannot: Collection[str] = ()
    question = "Once upon a time"
    tells_usage = True
    forks = hasattr(os, "fork")
    limit_s = 30.0
    soon_s = 2.0

    def spec(self) -> Spec:
        """What the plugin declares: `dspex_mine.dspex_lm_providers()[0]`."""
        raise NotImplementedError

    @contextmanager
    def served(self, *, streams: bool = False) -> Iterator[Mapping[str, Any]]:
        """Keywords of LM that say where the model is, while it is there; `streams`: it is to be asked in pieces."""
        yield {}

    # Running

    def plugins(self) -> PluginManager:
        """A manager that knows this one plugin."""
        spec = self.spec()

        class Plugin:
            dspex_lm_providers = staticmethod(hookimpl(lambda: [spec]))

        return PluginManager(lambda: [Source(spec.name, Plugin)], environ={})

    def live(self, work: Work, *, streams: bool = False) -> list[str]:
        """Run `work(lm)` as `life` does, where the model is served."""
        with self.served(streams=streams) as place:
            return asyncio.run(self.life(work, place))

    async def life(self, work: Work, place: Mapping[str, Any]) -> list[str]:
        """`work(lm)` in an App of its own; the tasks that were left when that had ended."""
        async with asyncio.timeout(self.limit_s):
            async with App(plugins=self.plugins()):
                await work(self.lm(**place))
            await asyncio.sleep(0)
            return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    def lm(self, **more: Any) -> LM:
        """A handle that makes one attempt a call, and keeps no reply."""
        fixed = {"cache": False, "num_retries": 0, "breaker": False}
        return LM(f"{self.spec().name}/{self.model}", **{**fixed, **self.options, **more})

    def provider(self, http: HttpClient | None = None, base_url: str | None = None) -> Any:
        """The provider itself, as the App makes it."""
        spec = self.spec()
        known = {field.name for field in msgspec.structs.fields(spec.options)} if spec.options else set()
        options = {name: value for name, value in self.options.items() if name in known}
        return spec.load()(Endpoint(spec.name, self.model, base_url, Secret(KEY), {}, options), http)

    def asked(self, lm: LM, ask: Ask | None = None, *, n: int = 1) -> LMRequest:
        """A request with the handle's own parameters."""
        given = (ask or Ask()).request(self.model, self.question)
        return lm.request(given.messages, given.params, tools=given.tools, schema=given.schema, n=n)

    # The contract

    def test_a_reply_has_a_text_a_reason_to_finish_and_usage(self) -> None:
        async def work(lm: LM) -> None:
            reply = await lm.complete(self.asked(lm))
            [choice] = reply.choices
            assert choice.text or choice.tool_calls or choice.finish_reason == "length", "an answer of nothing"
            assert choice.finish_reason, "it does not say why it ended"
            usage = reply.usage
            assert usage is not None
            assert usage.estimated is not self.tells_usage, (
                "whether usage is told or guessed is not as `tells_usage` says"
            )
            assert usage.input_tokens > 0

        self.live(work)

    def test_a_stream_is_the_whole_reply_in_pieces(self) -> None:
        whole: list[LMResponse] = []

        async def completed(lm: LM) -> None:
            whole.append(await lm.complete(self.asked(lm)))

        async def work(lm: LM) -> None:
            pieces = [piece async for piece in lm.stream(self.asked(lm))]
            self.check_pieces(pieces, whole[0])

        self.live(completed)
        self.live(work, streams=True)

    def check_pieces(self, pieces: list[LMDelta], whole: LMResponse) -> None:
        """A stream says what the whole reply says, and says last how it ended."""
        choice = whole.choices[0]
        assert "".join(piece.text for piece in pieces) == choice.text
        assert ("".join(piece.reasoning or "" for piece in pieces) or None) == choice.reasoning
        assert [piece.finish_reason for piece in pieces] == [None] * (len(pieces) - 1) + [choice.finish_reason]
        assert not self.tells_usage or pieces[-1].usage == whole.usage, "the last piece has no usage, or another"

    def test_it_gives_as_many_completions_as_are_asked_for(self) -> None:
        async def work(lm: LM) -> None:
            reply = await lm.complete(self.asked(lm, n=3))
            assert len(reply.choices) == 3

        self.live(work)

    def test_what_it_cannot_do_is_refused_by_its_name(self) -> None:
        async def work(lm: LM) -> None:
            for name in self.cannot:
                said = await refusal(lm.complete(self.asked(lm, ASKS[name])))
                assert name in said, f"{name}: {said or 'taken, and not honoured'}"

        self.live(work)

    def test_what_it_can_do_is_answered(self) -> None:
        async def work(lm: LM) -> None:
            for name, ask in ASKS.items():
                if name not in self.cannot:
                    request = self.asked(lm, ask)
                    before = copy.deepcopy(request)
                    assert (await lm.complete(request)).choices, name
                    assert request == before, (
                        f"{name}: the request was changed in place; its next attempt is another one"
                    )

        self.live(work)

    def test_its_capabilities_are_what_it_does(self) -> None:
        async def work(lm: LM) -> None:
            await lm.ready()
            said = lm.capabilities
            assert isinstance(said, Capabilities)
            for name in ASKS.keys() & set(Capabilities.__struct_fields__):
                assert getattr(said, name) is not (name in self.cannot), f"it says of {name} what is not so"
            has_batches = hasattr(lm.service.provider, "batch_start")
            assert said.batch in (None, has_batches), "it says of batches what is not so"

        self.live(work)

    def test_a_cancelled_call_ends_at_once_and_harms_no_other(self) -> None:
        async def work(lm: LM) -> None:
            for turns in range(4):
                task = asyncio.ensure_future(lm.complete(self.asked(lm)))
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                done, _ = await asyncio.wait([task], timeout=self.soon_s)
                assert done, f"cancelled in turn {turns}, it went on"
            assert (await lm.complete(self.asked(lm))).choices

        assert not self.live(work), "tasks go on behind cancelled calls"

    def test_it_is_used_from_several_loops_and_threads_at_once(self) -> None:
        async def client(lm: LM) -> int:
            replies = await asyncio.gather(*(lm.complete(self.asked(lm)) for _ in range(2)))
            return len({reply.text for reply in replies})

        async def work(lm: LM) -> None:
            def serve() -> list[int]:
                return [asyncio.run(client(lm)) for _ in range(LOOPS)]

            # All, also where one fails: the App must not end under their loops.
            ends = await asyncio.gather(*(asyncio.to_thread(serve) for _ in range(THREADS)), return_exceptions=True)
            for end in ends:
                if isinstance(end, BaseException):
                    raise end
                assert end == [1] * LOOPS
            assert await client(lm) == 1

        self.live(work)

    def test_a_forked_child_answers_and_so_does_its_parent(self) -> None:
        async def work(lm: LM) -> None:
            assert (await lm.complete(self.asked(lm))).choices
            assert await asyncio.to_thread(ended, forked(lambda: lm.complete(self.asked(lm))), self.limit_s / 2) == 0, (
                "the child failed"
            )
            assert (await lm.complete(self.asked(lm))).choices

        if self.forks:
            self.live(work)

    def test_its_app_lets_it_go_and_nothing_of_it_is_left(self) -> None:
        async def work(lm: LM) -> None:
            assert (await lm.complete(self.asked(lm))).choices

        before = set(threading.enumerate())
        assert not self.live(work), "tasks go on"
        end = time.monotonic() + self.soon_s
        while left := [one.name for one in threading.enumerate() if one not in before]:
            assert time.monotonic() < end, f"threads live on: {left}"
            time.sleep(0.01)

    def test_it_can_be_let_go_before_its_first_call(self) -> None:
        async def let_go(provider: Any) -> None:
            close = getattr(provider, "aclose", None)
            if close is not None:
                await close()

        asyncio.run(let_go(self.provider()))

    def test_its_key_is_not_shown(self) -> None:
        provider = self.provider()
        assert KEY not in f"{provider} {provider!r} {getattr(provider, 'capabilities', None)}"


async def refusal(call: Awaitable[Any]) -> str:
    """How a request was refused; empty for one that was taken."""
    try:
        await call
    except BadRequest as error:
        return str(error)
    return ""


def forked(call: Callable[[], Awaitable[LMResponse]]) -> int:
    """The id of a child that makes one call on a loop of its own, and ends with 0 if that was answered."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads beside a fork, which is the very question here
        child = os.fork()
    if child:
        return child
    code = 1
    try:
        code = 0 if asyncio.run(_answer(call)).choices else 2
    except DspexError:
        code = 3
    finally:
        os._exit(code)


async def _answer(call: Callable[[], Awaitable[LMResponse]]) -> LMResponse:
    return await call()


def ended(child: int, limit_s: float) -> int:
    """How a child ended; NEVER for one that had to be killed."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return NEVER
