"""Keeps tests on this host: sockets connect to loopback addresses only, and no other names are looked up."""

import ipaddress
import socket
from collections.abc import Callable
from typing import Any

LOCAL_NAMES = frozenset({"", "localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback"})
BEFORE_ADDRESS = 3  # arguments of sendmsg
NAMED = 3  # of the places that a test wanted to reach


class Guard:
    """Stands at `socket.socket` and what looks up names between `install` and `remove`; `is_open` lets all through.

    `wanted` has the places that were refused: code may swallow the error, and its test must fail all the same.
    """

    def __init__(self) -> None:
        self.is_open = False
        self.wanted: list[str] = []
        self._undo: list[Callable[[], None]] = []

    def install(self) -> None:
        """Begin."""
        for name in ("connect", "connect_ex"):
            self._method(name, lambda arguments: arguments[0])
        self._method("sendto", lambda arguments: arguments[-1])
        self._method("sendmsg", lambda arguments: arguments[3] if len(arguments) > BEFORE_ADDRESS else None)
        for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex"):
            self._look_up(name, lambda host, *_, **__: self._check_name(host))
        # Whose name an address has is asked of another host too.
        self._look_up("gethostbyaddr", lambda host: self._check((host,)))
        self._look_up("getnameinfo", self._check_place)

    def _look_up(self, name: str, check: Callable[..., Any]) -> None:
        whole = getattr(socket, name)

        def look_up(*arguments: Any, **keywords: Any) -> Any:
            check(*arguments, **keywords)
            return whole(*arguments, **keywords)

        setattr(socket, name, look_up)
        self._undo.append(lambda: setattr(socket, name, whole))

    def _method(self, name: str, address_of: Callable[[tuple[Any, ...]], Any]) -> None:
        own, whole = vars(socket.socket).get(name), getattr(socket.socket, name)

        def method(one: socket.socket, *arguments: Any) -> Any:
            if one.family in (socket.AF_INET, socket.AF_INET6) and arguments:
                try:
                    address = address_of(arguments)
                    if address is not None:
                        self._check(address)
                except Exception:
                    one.close()  # who opens sockets expects errors of the network, and would leave it open at another
                    raise
            return whole(one, *arguments)

        setattr(socket.socket, name, method)
        # Where it was none of its own, that of the base class in C shows again.
        self._undo.append(lambda: setattr(socket.socket, name, own) if own else delattr(socket.socket, name))

    def remove(self) -> None:
        """End."""
        while self._undo:
            self._undo.pop()()

    def _check(self, address: Any) -> None:
        host = address[0] if isinstance(address, tuple) and address else ""
        if not self.is_open and not is_local(host):
            self._refuse(f"{host}:{address[1]}" if len(address) > 1 else str(host))

    def _check_place(self, address: Any, flags: int) -> None:
        if not flags & socket.NI_NUMERICHOST:  # else it is written as numbers, and nobody is asked
            self._check(address)

    def _check_name(self, host: Any) -> None:
        name = host.decode("ascii", "replace") if isinstance(host, bytes) else host
        if not self.is_open and name is not None and not is_local(name) and not _is_address(name):
            self._refuse(str(name))

    def _refuse(self, place: str) -> None:
        from pytest_dspex.blocked import NetworkBlocked

        self.wanted.append(place)
        raise NetworkBlocked(told([place]))


def told(places: list[str]) -> str:
    """What the person reads."""
    unique = list(dict.fromkeys(places))
    more = f" and {len(unique) - NAMED} more" if len(unique) > NAMED else ""
    return (
        f"This test wanted to reach {', '.join(unique[:NAMED])}{more}, and tests here stay on this host. Use a double (the fixtures "
        "dummy_lm, fault_server), record it once (the fixture cassette, --dspex-record=once), or mark the test with "
        "@pytest.mark.dspex_network."
    )


def is_local(host: Any) -> bool:
    """Whether a name or an address is this host."""
    text = str(host).partition("%")[0].rstrip(".").lower()
    if text in LOCAL_NAMES or text.endswith(".localhost") or text == socket.gethostname().lower():
        return True
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or address.is_unspecified or (mapped is not None and mapped.is_loopback)


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True
