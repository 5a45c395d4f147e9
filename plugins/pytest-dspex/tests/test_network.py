"""No test leaves this host unasked."""

import re
import socket

import pytest

from pytest_dspex import NetworkBlocked
from pytest_dspex.guard import Guard, is_local

# 192.0.2.0/24 and 2001:db8::/32 are for documentation: nobody lives there.
WAYS = {
    "connect": "socket.create_connection(('192.0.2.1', 80), 1)",
    "connect_ex": "with socket.socket() as one: one.connect_ex(('192.0.2.1', 80))",
    "IPv6": "with socket.socket(socket.AF_INET6) as one: one.connect(('2001:db8::1', 80, 0, 0))",
    "UDP": "with socket.socket(type=socket.SOCK_DGRAM) as one: one.sendto(b'x', ('192.0.2.1', 80))",
    "UDP, by parts": "with socket.socket(type=socket.SOCK_DGRAM) as one: one.sendmsg([b'x'], [], 0, ('192.0.2.1', 80))",
    "UDP over IPv6": "with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as one: one.sendto(b'x', 0, ('2001:db8::1', 80, 0, 0))",
    "a name, the old way": "socket.gethostbyname('example.invalid')",
    "a name, with its others": "socket.gethostbyname_ex('example.invalid')",
    "the name of an address": "socket.gethostbyaddr('192.0.2.1')",
    "the name of a place": "socket.getnameinfo(('192.0.2.1', 80), 0)",
    "the full name": "socket.getfqdn('example.invalid')",
    "a name": "socket.getaddrinfo('example.invalid', 80)",
    "a name, connected": "socket.create_connection(('example.invalid', 80), 1)",
    "urllib": "__import__('urllib.request').request.urlopen('http://192.0.2.1/', timeout=1)",
    "asyncio": "asyncio.run(asyncio.wait_for(asyncio.open_connection('192.0.2.1', 80), 1))",
    "a thread": "threading_run(lambda: socket.create_connection(('192.0.2.1', 80), 1))",
}
HELP = """
import asyncio, socket, threading

def threading_run(work):
    found = []
    def run():
        try:
            work()
        except BaseException as error:
            found.append(error)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    raise found[0]
"""
TEST = (
    HELP
    + """
{mark}
def test_it():
    {way}
"""
)


def test_a_test_that_wants_out_fails_and_says_where_to_and_what_to_do(run):
    tests = "".join(f"\ndef test_{number}():\n    {way}\n" for number, way in enumerate(WAYS.values()))
    result = run(HELP + tests)
    result.assert_outcomes(failed=len(WAYS))
    said = [line for line in result.outlines if re.match("E .*NetworkBlocked: This test wanted to reach", line)]
    places = [re.search(r"wanted to reach ([^,]+),", line)[1] for line in said]
    assert places == [
        *("192.0.2.1:80", "192.0.2.1:80", "2001:db8::1:80", "192.0.2.1:80", "192.0.2.1:80", "2001:db8::1:80"),
        *("example.invalid", "example.invalid", "192.0.2.1", "192.0.2.1:80", "example.invalid"),
        *("example.invalid", "example.invalid"),
        *("192.0.2.1:80", "192.0.2.1:80", "192.0.2.1:80"),
    ]
    assert all("@pytest.mark.dspex_network" in line for line in said)


def test_it_fails_too_where_the_error_is_swallowed(run):
    swallowed = "import contextlib\n    with contextlib.suppress(Exception), socket.socket() as one:\n        one.connect(('192.0.2.1', 80))"
    result = run(TEST.format(way=swallowed, mark=""))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*This test wanted to reach 192.0.2.1:80*"])


def test_a_call_of_a_model_is_not_tried_again(run):
    result = run("""
import dspex, pytest, time
from pytest_dspex import NetworkBlocked

class Remote:
    attempts = 0
    async def complete(self, request):
        import aiohttp
        Remote.attempts += 1
        async with aiohttp.ClientSession() as session, session.post("http://192.0.2.1/v1"):
            pass

def test_it(dspex_app):
    began = time.monotonic()
    with pytest.raises(NetworkBlocked, match="192.0.2.1:80"):
        dspex.LM("x/y", provider=Remote())("hello")
    assert Remote.attempts == 1
""")
    result.assert_outcomes(failed=1)  # it wanted out all the same
    result.stdout.fnmatch_lines(["*This test wanted to reach 192.0.2.1:80,*"])
    result.stdout.no_fnmatch_line("*DID NOT RAISE*")


LOCAL = """
import asyncio, socket

{mark}
def test_it():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost"):
            socket.create_connection((host, port), 1).close()
    socket.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)
    socket.gethostbyname("localhost")
    socket.getfqdn()
    here, there = socket.socketpair()
    here.close(), there.close()

def test_a_fixture(fault_server):
    import urllib.request, urllib.error
    fault_server.then(200, "yes")
    assert urllib.request.urlopen(fault_server.url).read() == b"yes"
"""


def test_this_host_is_free(run):
    run(LOCAL.format(mark="")).assert_outcomes(passed=2)


@pytest.mark.dspex_network  # the guard of this run stands behind that of the inner one
@pytest.mark.parametrize("free", ["mark", "setting"])
def test_a_mark_or_a_setting_lets_out(run, free, pytester):
    # Out is a socket that would wait; that it is let through is seen by its own error.
    way = """
    one = socket.socket()
    one.settimeout(0.01)
    try:
        one.connect(('192.0.2.1', 80))
    except OSError:
        pass
    one.close()"""
    marked = "import pytest\n@pytest.mark.dspex_network" if free == "mark" else ""
    words = [] if free == "mark" else ["-o", "dspex_network=allow"]
    run(TEST.format(way=way.strip(), mark=marked), *words).assert_outcomes(passed=1)


def test_a_mark_is_for_its_own_test(run):
    source = TEST.format(way="pass", mark="import pytest\n@pytest.mark.dspex_network")
    result = run(source + f"\ndef test_other():\n    {WAYS['connect']}\n")
    result.assert_outcomes(passed=1, failed=1)


def test_a_setting_that_is_none_is_refused(run):
    result = run("def test_it(): pass", "-o", "dspex_network=perhaps")
    assert result.ret == 4
    result.stderr.fnmatch_lines(["*dspex_network = 'perhaps': it is block or allow.*"])


@pytest.mark.parametrize(
    ("host", "here"),
    [
        *(
            (host, True)
            for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost", "LOCALHOST.", "a.localhost", "", "0.0.0.0", "::")
        ),
        *((host, True) for host in ("::ffff:127.0.0.1", "::1%lo")),
        *((host, False) for host in ("10.0.0.1", "192.0.2.1", "2001:db8::1", "example.com", "localhost.example.com")),
        *((host, False) for host in ("127.0.0.1.example.com", "::ffff:192.0.2.1", "169.254.169.254")),
    ],
)
def test_what_is_this_host(host, here):
    assert is_local(host) is here


def test_the_guard_leaves_sockets_as_they_were():  # which is another guard's, of the run that this test is in
    names = ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo")

    def now():
        methods = [vars(socket.socket).get(name) for name in ("connect", "connect_ex", "sendto", "sendmsg")]
        return methods + [getattr(socket, name) for name in names]

    before, guard = now(), Guard()
    guard.install()
    with pytest.raises(NetworkBlocked):
        socket.getaddrinfo("example.invalid", 80)
    guard.remove()
    guard.remove()
    assert now() == before
