"""Where a server is: a command to run, or an address."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import msgspec

from dspex.plugin import ConfigurationError, Headers


class Stdio(msgspec.Struct, frozen=True):
    """A server that is a command, spoken to by its stdin and stdout.

    It sees `env`, and of this process's variables PATH, HOME and the like only: no key reaches it unless it is given.
    """

    command: str
    args: tuple[str, ...] = ()
    env: Mapping[str, str] = {}
    cwd: str | None = None

    def __post_init__(self) -> None:
        if not self.command:
            raise ConfigurationError("An MCP server's command is empty: Stdio('python', ('server.py',)).")

    @property
    def name(self) -> str:
        """Its command, for messages."""
        return " ".join((self.command, *self.args))

    @property
    def identity(self) -> list[Any]:
        """What tells it from others, without a secret."""
        return ["stdio", self.command, *self.args, self.cwd]

    def __repr__(self) -> str:
        return f"Stdio({self.name!r}{''.join(f', {name}=***' for name in self.env)})"


class Http(msgspec.Struct, frozen=True):
    """A server at an address, spoken to by streamable HTTP; `headers`, as for a token, are never shown."""

    url: str
    headers: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in ("http", "https") or not urlsplit(self.url).hostname:
            raise ConfigurationError(f"{self.url!r:.80} is no address of an MCP server: write http(s)://host/path.")

    @property
    def name(self) -> str:
        """Its host and path, for messages: a key may stand in the rest."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

    @property
    def identity(self) -> list[Any]:
        """What tells it from others, without a secret."""
        return ["http", self.name]

    def __repr__(self) -> str:
        return f"Http({self.name!r}, {Headers(self.headers)!r})"


Server = Stdio | Http


def server_at(given: "Server | str | Sequence[str]") -> Server:
    """The server that is meant: an address, or a command with its arguments. Raises ConfigurationError."""
    if isinstance(given, Stdio | Http):
        return given
    if isinstance(given, str):
        return Http(given)
    words = tuple(map(str, given))
    if not words:
        raise ConfigurationError("An MCP server is an address, or a command with its arguments in a list.")
    return Stdio(words[0], words[1:])
