import asyncio
from contextvars import ContextVar

import pytest

from dspex.core.errors import ConfigurationError, SupervisorFailed
from dspex.runtime.supervisor import ChildSpec, Row, Supervisor
from dspex.testing.virtual_time import VirtualClock, simulate


class Log:
    """What children did, in order; `child(name)` lives until it is killed through `kill(name)` or stopped."""

    def __init__(self):
        self.lines = []
        self.ends = {}

    def child(self, name, **options):
        async def live():
            self.lines.append(f"+{name}")
            end = self.ends[name] = asyncio.get_running_loop().create_future()
            try:
                return await end
            finally:
                self.lines.append(f"-{name}")

        return ChildSpec(name, live, **options)

    async def kill(self, name, error=None):
        self.ends[name].set_exception(error or OSError(f"{name} died"))
        await settle()

    def since(self):
        lines, self.lines = " ".join(self.lines), []
        return lines


async def settle():
    """Let the deaths be seen and the restarts take their first steps."""
    await asyncio.sleep(0.001)


def supervisor(*specs, **options):
    made = Supervisor("root", clock=VirtualClock(), **options)
    for spec in specs:
        made.add(spec)
    return made


def test_children_start_in_order_and_stop_in_reverse():
    async def main():
        log = Log()
        root = supervisor(*map(log.child, "abc"))
        await root.start()
        started = log.since()
        await root.stop()
        return started, log.since(), len(asyncio.all_tasks())

    assert simulate(main)[0] == ("+a +b +c", "-c -b -a", 1)


@pytest.mark.parametrize(
    ("strategy", "seen"),
    [("one_for_one", "-b +b"), ("one_for_all", "-b -c -a +a +b +c"), ("rest_for_one", "-b -c +b +c")],
)
def test_a_strategy_says_who_restarts_with_a_dead_child(strategy, seen):
    async def main():
        log = Log()
        root = supervisor(*map(log.child, "abc"), strategy=strategy)
        await root.start()
        log.since()
        await log.kill("b")
        seen = log.since()
        await root.stop()
        return seen

    assert simulate(main)[0] == seen


@pytest.mark.fault("P19")
@pytest.mark.fault("R21")
def test_a_dead_child_is_back_within_ten_milliseconds():
    async def main():
        log, told = Log(), []
        root = supervisor(log.child("a"), on_restart=lambda *facts: told.append(facts))
        await root.start()
        error = OSError("disk full")
        loop = asyncio.get_running_loop()
        died = loop.time()
        log.ends["a"].set_exception(error)
        while log.lines != ["+a", "-a", "+a"]:  # noqa: ASYNC110
            await asyncio.sleep(0)
        seconds = loop.time() - died
        await root.stop()
        return seconds, told == [("a", error, 1)]

    seconds, told = simulate(main)[0]
    assert seconds <= 0.01
    assert told


@pytest.mark.parametrize(
    ("restart", "ending", "back"),
    [
        ("permanent", "returns", True),
        ("permanent", "raises", True),
        ("transient", "returns", False),
        ("transient", "raises", True),
        ("transient", "is cancelled", True),
        ("temporary", "raises", False),
        ("temporary", "returns", False),
    ],
)
def test_how_a_child_ended_decides_whether_it_is_started_again(restart, ending, back):
    async def main():
        log = Log()
        root = supervisor(log.child("a", restart=restart))
        await root.start()
        end = log.ends["a"]
        {
            "returns": lambda: end.set_result(1),
            "raises": lambda: end.set_exception(KeyError("k")),
            "is cancelled": end.cancel,
        }[ending]()
        await settle()
        seen = log.since()
        names = [row.name for row in root.tree()]
        await root.stop()
        return seen, names

    seen, names = simulate(main)[0]
    assert seen == ("+a -a +a" if back else "+a -a")
    assert names == ([] if restart == "temporary" else ["a"])


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), ValueError("v")], ids=repr)
def test_whatever_a_child_raises_is_a_death_and_nothing_more(error):
    async def main():
        log = Log()

        async def live():
            log.lines.append("life")
            if len(log.lines) < 2:
                raise error
            await asyncio.Event().wait()

        root = supervisor(ChildSpec("a", live))
        await root.start()
        await settle()
        rows = root.tree()
        await root.stop()
        return log.lines, rows

    lines, rows = simulate(main)[0]
    assert lines == ["life", "life"]
    assert rows == [Row("a", "running", 1, f"{type(error).__name__}: {error}".rstrip(": "), 0)]


def test_a_factory_that_fails_is_a_death_of_its_child():
    async def main():
        root = supervisor(ChildSpec("a", lambda: None))
        await root.start()
        await settle()
        return root.tree()[0].error

    assert "TypeError" in simulate(main)[0]


@pytest.mark.fault("P19")
@pytest.mark.fault("R21")
def test_more_deaths_than_allowed_end_the_supervisor():
    async def main():
        log, failures = Log(), []
        root = supervisor(*map(log.child, "abc"), on_failure=failures.append)
        await root.start()
        for _ in range(3):
            await log.kill("b")
        log.since()
        await log.kill("b", OSError("disk full"))
        return log.since(), failures, root.tree(), len(asyncio.all_tasks())

    lines, [failure], rows, tasks = simulate(main)[0]
    assert lines == "-b -c -a"
    assert isinstance(failure, SupervisorFailed)
    assert (failure.supervisor, failure.child) == ("root", "b")
    assert "'b' died (OSError: disk full) after 3 restarts in 5 s" in str(failure)
    assert isinstance(failure.__cause__, OSError)
    assert [row.state for row in rows] == ["stopped", "failed", "stopped"]
    assert tasks == 1


def test_deaths_that_lie_far_apart_are_forgiven():
    async def main():
        log, failures = Log(), []
        root = supervisor(log.child("a"), on_failure=failures.append)
        await root.start()
        for _ in range(100):
            await log.kill("a")
            await asyncio.sleep(1.7)
        await root.stop()
        return failures, root.tree()[0].restarts

    assert simulate(main)[0] == ([], 100)


def test_a_nested_supervisor_that_gives_up_is_restarted_by_its_parent():
    async def main():
        log, failures = Log(), []
        inner = Supervisor("inner", intensity=1, clock=VirtualClock())
        inner.add(log.child("b"))
        inner.add(log.child("c"))
        root = supervisor(log.child("a"), inner.as_child(), log.child("d"), intensity=1, on_failure=failures.append)
        await root.start()
        seen = [log.since()]
        for _ in range(4):
            await log.kill("b")
            seen.append(log.since())
        return seen, [str(failure) for failure in failures], len(asyncio.all_tasks())

    seen, [failure], tasks = simulate(main)[0]
    assert seen == ["+a +b +c +d", "-b +b", "-b -c +b +c", "-b +b", "-b -c -d -a"]
    assert "'inner' died (SupervisorFailed" in failure
    assert tasks == 1


def test_the_tree_has_a_row_for_each_child_at_its_depth():
    async def main():
        log = Log()
        inner = Supervisor("inner")
        inner.add(log.child("b"))
        root = supervisor(log.child("a"), inner.as_child())
        await root.start()
        await log.kill("a", OSError())
        rows = root.tree()
        await root.stop()
        return rows

    assert simulate(main)[0] == [
        Row("a", "running", 1, "OSError", 0),
        Row("inner", "running", 0, "", 0),
        Row("b", "running", 0, "", 1),
    ]


def test_children_come_and_go_while_it_runs():
    async def main():
        log = Log()
        root = supervisor(log.child("a"))
        await root.start()
        root.add(log.child("b"))
        await settle()
        await root.remove("a")
        await root.remove("never there")
        with pytest.raises(ConfigurationError, match="remove it first"):
            root.add(log.child("b"))
        await root.stop()
        return log.since()

    assert simulate(main)[0] == "+a +b -a -b"


def test_a_child_added_by_a_request_does_not_live_in_its_context():
    request, seen = ContextVar("request", default="none"), []

    async def live():
        seen.append(request.get())
        await asyncio.Event().wait()

    async def main():
        inner = Supervisor("inner")
        inner.add(ChildSpec("b", live))
        root = supervisor()
        await root.start()
        request.set("one")
        root.add(ChildSpec("a", live))
        root.add(inner.as_child())
        await settle()
        await root.stop()

    simulate(main)
    assert seen == ["none", "none"]


def test_a_supervisor_added_and_removed_at_once_leaves_nothing():
    async def main():
        log = Log()
        inner = Supervisor("inner")
        inner.add(log.child("b"))
        root = supervisor()
        await root.start()
        root.add(inner.as_child())
        await root.remove("inner")
        tasks = len(asyncio.all_tasks())
        await root.stop()
        return tasks

    assert simulate(main)[0] == 2


def test_it_can_be_started_again_on_another_loop():
    log = Log()
    root = Supervisor("root")
    root.add(log.child("a"))

    async def main():
        await root.start()
        await log.kill("a")
        await root.stop()

    simulate(main)
    simulate(main)
    assert log.since() == "+a -a +a -a +a -a +a -a"


def test_a_callback_that_raises_is_reported_and_harms_nothing():
    async def main():
        log, reported = Log(), []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
        root = supervisor(log.child("a"), on_restart=lambda *_: 1 / 0)
        await root.start()
        await log.kill("a")
        seen = log.since()
        await root.stop()
        return seen, reported

    seen, [error] = simulate(main)[0]
    assert seen == "+a -a +a"
    assert isinstance(error, ZeroDivisionError)
