"""One client over several loops and threads, and nothing said at their ends."""

import asyncio
import gc
import subprocess
import sys
import threading

import pytest

from dspex.core.endpoint import Endpoint
from dspex.runtime.bridge import Bridge
from dspex.service.http import HttpService

ANSWER = b"4"


@pytest.fixture
def service(server):
    server.then(200, ANSWER, times=None)
    return HttpService(Endpoint("acme", "acme-1", server.url))


async def answer(service: HttpService) -> bytes:
    return (await service.request("GET", "/")).body


def in_a_thread(work) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


@pytest.mark.fault("P11")
def test_one_client_serves_loop_after_loop_and_closes_with_each(server, service):
    for _ in range(3):
        assert asyncio.run(answer(service)) == ANSWER
        assert server.wait(lambda s: s.closed == s.connections, 1.0)
    in_a_thread(lambda: asyncio.run(answer(service)))
    assert server.connections == 4
    gc.collect()  # what is unclosed would warn here, and warnings are errors


async def test_one_client_serves_two_loops_at_once(service):
    assert await answer(service) == ANSWER
    await asyncio.to_thread(lambda: asyncio.run(answer(service)))
    assert await answer(service) == ANSWER
    await service.aclose()


async def test_connections_close_when_a_client_is_dropped(server):
    server.then(200, ANSWER)
    assert await answer(HttpService(Endpoint("acme", "acme-1", server.url))) == ANSWER
    gc.collect()
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 1, 1.0)


async def test_a_closed_client_opens_again_when_it_is_used(server, service):
    await answer(service)
    await service.aclose()
    assert await answer(service) == ANSWER
    await service.aclose()
    assert await asyncio.to_thread(server.wait, lambda s: s.closed == 2, 1.0)


async def closed_while_its_loop_ends(service: HttpService) -> list[str]:
    """What the loop has to complain of."""
    said: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: said.append(f"{context['message']}: {context.get('exception')}"))
    await answer(service)
    ends = [asyncio.ensure_future(loop.shutdown_asyncgens()), asyncio.ensure_future(service.aclose())]
    await asyncio.gather(*ends)
    return said


@pytest.mark.fault("P11")
def test_a_client_may_be_closed_while_its_loop_ends(server, service):
    assert asyncio.run(closed_while_its_loop_ends(service)) == []
    assert server.wait(lambda s: s.closed == s.connections, 1.0)


def test_connections_of_a_loop_that_stands_still_may_end_unseen(server, service):
    bridge = Bridge()
    server.then(200, ANSWER, end="close", times=3)
    assert [bridge.run(answer(service)) for _ in range(3)] == [ANSWER] * 3
    bridge.run(service.aclose())
    bridge.stop()


def test_connections_of_a_loop_that_stands_still_are_closed_from_another(server, service):
    bridge = Bridge()
    bridge.run(answer(service))

    async def close():
        with bridge.kept():
            await service.aclose()

    asyncio.run(close())
    assert server.wait(lambda s: s.closed == s.connections, 1.0)
    bridge.stop()


EXITS = {
    "run": "asyncio.run(call()); asyncio.run(call())",
    "loop-left-open": "loop = asyncio.new_event_loop(); loop.run_until_complete(call()); loop.close(); asyncio.run(call())",
    "loop-not-closed": "loop = asyncio.new_event_loop(); loop.run_until_complete(call())",
    "loop-in-a-daemon-thread": "run_in_daemon(call())",
    "stream-in-a-daemon-thread": "run_in_daemon(leave_a_stream())",
    "fork": "run_in_daemon(call()); warnings.simplefilter('ignore'); os.fork() or sys.exit(0); os.wait()",
    "loop-that-stands": "bridge = Bridge(); bridge.run(call()); bridge.run(call())",
    "loop-that-stands-forked": "bridge = Bridge(); bridge.run(call()); os.fork() or bridge.run(call()) or sys.exit(0); os.wait()",
    "thread": "t = threading.Thread(target=asyncio.run, args=(call(),)); t.start(); t.join()",
    "in-flight": "asyncio.run(leave())",
    "stream": "asyncio.run(leave_a_stream())",
}
PROGRAM = """
import asyncio, os, sys, threading, warnings
from dspex.core.endpoint import Endpoint
from dspex.runtime.bridge import Bridge
from dspex.service.http import HttpService

http = HttpService(Endpoint("acme", "acme-1", sys.argv[1]))

async def call():
    await http.request("GET", "/")

async def leave():
    asyncio.create_task(call())
    await asyncio.sleep(0.01)

async def leave_a_stream():
    async for event in http.events("GET", "/"):
        break

def run_in_daemon(work):
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    asyncio.run_coroutine_threadsafe(work, loop).result()

{exit}
"""


@pytest.mark.fault("P11")
@pytest.mark.parametrize("program", EXITS.values(), ids=EXITS.keys())
def test_a_process_ends_without_a_word(server, warm, tmp_path, program):
    server.then_events([{"n": 1}], times=None)
    done = warm.run("-c", PROGRAM.replace("{exit}", program), server.url, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


OUT_OF_FILES = """
import asyncio, os, resource, sys
from dspex.core.endpoint import Endpoint
from dspex.core.errors import Unavailable
from dspex.service.http import HttpService

resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
http = HttpService(Endpoint("acme", "acme-1", sys.argv[1]))

async def main():
    await http.request("GET", "/")
    before = len(os.listdir("/proc/self/fd"))
    done = await asyncio.gather(*(http.request("GET", "/") for _ in range(500)), return_exceptions=True)
    kinds = {type(one).__name__ for one in done}
    await http.aclose()
    await http.request("GET", "/")
    print(sorted(kinds), len(os.listdir("/proc/self/fd")) - before)

asyncio.run(main())
"""


@pytest.mark.fault("N24")
@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_a_process_out_of_file_descriptors_gets_errors_and_leaks_none(server):
    server.then(200, ANSWER, times=None)
    command = [sys.executable, "-c", OUT_OF_FILES, server.url]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.stderr) == ("['HttpReply', 'Unavailable'] 0\n", "")
