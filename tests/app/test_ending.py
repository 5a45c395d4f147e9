"""Ctrl-C and the end of the interpreter: at once and without noise, whatever is in flight."""

import signal

import pytest

CALLS = {
    "sync LM": "slow('2+2?')",
    "sync Predict": "predict(question='2+2?', lm=slow)",
    "async": "asyncio.run(predict.acall(question='2+2?', lm=slow))",
    "Module with forward": """
class Two(dspex.Module):
    def __init__(self):
        self.predict = dspex.Predict("question -> answer")
    def forward(self):
        return self.predict(question="2+2?")
dspex.configure(lm=slow)
Two()()
""",
    "acall of a forward": """
class Two(dspex.Module):
    def forward(self):
        return predict(question="2+2?")
dspex.configure(lm=slow)
asyncio.run(Two().acall())
""",
    "sync inside a loop": """
async def main():
    predict(question="2+2?", lm=slow)
asyncio.run(main())
""",
    "a sync call inside a sync call": """
class Careless(dspex.Module):
    async def aforward(self):
        return predict(question="2+2?", lm=slow)
Careless()()
""",
    "stream": """
async def main():
    async for piece in slow.stream(slow.request((), {})):
        pass
asyncio.run(main())
""",
    "500 in flight": """
async def main():
    await asyncio.gather(*(slow.acall(f"{n}?", temperature=n) for n in range(500)))
asyncio.run(main())
""",
}


@pytest.mark.fault("P13")
@pytest.mark.fault("R17")
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_ctrl_c_ends_a_call(program, call):
    running = program(call)
    assert running.first_line() == "asked"
    running.interrupt()
    code, _, err, seconds = running.end()
    assert code == -signal.SIGINT
    assert err.endswith("KeyboardInterrupt\n")
    assert "exception was never retrieved" not in err
    assert "was destroyed" not in err
    assert err.count("Traceback (most recent call last)") <= 2  # of the interrupt, and of what it cancelled
    assert seconds < 1.5


WAKES = """
class Watched(Provider):
    async def complete(self, request):
        woken.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(woken[-1])
        return await super().complete(request)

woken, (mine, other) = [], socket.socketpair()
mine.setblocking(False)
signal.set_wakeup_fd(mine.fileno())
watched = dspex.LM("watched/m", provider=Watched())
watched("2+2?")
say(woken[0] not in (-1, mine.fileno()), signal.set_wakeup_fd(-1) == mine.fileno())
mine.close()
other.close()
"""


@pytest.mark.fault("P13")
def test_a_signal_wakes_the_loop_of_a_sync_call(printed):
    """Else Ctrl-C just before the loop begins to wait is noticed when that wait ends, in a minute perhaps."""
    assert printed("import socket\n" + WAKES) == ["True True"]


CATCHES = """
for number in range(3):
    try:
        slow(f"{number}?")
    except KeyboardInterrupt:
        say("interrupted", slow.service.attempts.limits.used)
say(len(fast("and now?")), len(asyncio.run(fast.acall("and then?"))))
"""


@pytest.mark.fault("P13")
def test_after_ctrl_c_calls_work_as_before(program):
    running = program(CATCHES)
    for _ in range(3):
        assert running.first_line() == "asked"
        running.interrupt()
        assert running.first_line() == "interrupted 0"
    code, out, err, _ = running.end()
    assert (code, out, err) == (0, "1 1\n", "")


LEFT = {
    "a thread": "threading.Thread(target=slow, args=('2+2?',), daemon=True).start()",
    "the bridge": "from dspex.app.app import current_app; current_app().bridge.start(slow.acall('2+2?'))",
    "a loop of a thread": "threading.Thread(target=asyncio.run, args=(slow.acall('2+2?'),), daemon=True).start()",
    "a worker": """
class Two(dspex.Module):
    def forward(self):
        slow("2+2?")
from dspex.app.app import current_app
current_app().bridge.start(Two().acall())
""",
}


@pytest.mark.fault("P20")
@pytest.mark.parametrize("left", LEFT.values(), ids=LEFT)
def test_the_interpreter_ends_with_calls_in_flight(program, left):
    running = program(left + "\nwhile not slow._provider.asked: time.sleep(0.001)\n")
    assert running.first_line() == "asked"
    code, out, err, seconds = running.end()
    assert (code, out, err) == (0, "", "")
    assert seconds < 2


def test_a_script_that_has_ended_its_calls_ends_quietly(printed):
    assert printed("say(len(fast('2+2?')), predict(question='2+2?', lm=fast).answer)") == ["1 4"]


BUSY = """
import atexit
from dspex.plugin import LMResponse
class Busy:
    async def complete(self, request):
        return LMResponse.from_text("4")
    async def background(self):
        while True:
            await asyncio.to_thread(time.sleep, 0.001)
atexit.register(time.sleep, 0.1)
print(*dspex.LM("busy/m", provider=Busy())("2+2?"))
"""


@pytest.mark.fault("P20")
def test_background_work_that_needs_threads_ends_quietly_with_the_interpreter(printed):
    assert printed(BUSY) == ["4"]


@pytest.mark.fault("P13")
def test_ctrl_c_while_the_command_is_loaded_prints_nothing(program, tmp_path):
    (tmp_path / "click.py").write_text("import os, time; os.write(1, b'loading\\n'); time.sleep(60)")
    running = program("sys.path.insert(0, '.'); from dspex.__main__ import main; main()")
    assert running.first_line() == "loading"
    running.interrupt()
    code, out, err, seconds = running.end()
    assert (code, out, err) == (-signal.SIGINT, "", "")
    assert seconds < 1
