"""Tokens that run out: kept while they are good, asked for once by many, and never shown."""

import asyncio
import sys
from types import ModuleType

import pytest

import dspex
from dspex.core.secret import Secret
from dspex.plugin import AuthError, BearerTokens, Token, Unavailable, tokens_by


class Vault:
    """Gives tokens by number, good for `good_s`; `away` makes it fail. Its time stands still but where a test moves it."""

    def __init__(self, good_s=3600.0):
        self.asked, self.time, self.good_s, self.away = 0, 1_000.0, good_s, False

    async def ask(self):
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise Unavailable("The vault is away.")
        ends_at = None if self.good_s is None else self.time + self.good_s
        return Token(Secret(f"token-{self.asked}"), ends_at)

    def tokens(self):
        return BearerTokens(self.ask, lambda: self.time)


async def shown(tokens):
    return (await tokens.headers())["authorization"]


async def test_many_at_once_ask_for_one():
    vault = Vault()
    tokens = vault.tokens()
    assert {*await asyncio.gather(*(shown(tokens) for _ in range(50)))} == {"Bearer token-1"}
    assert vault.asked == 1


@pytest.mark.parametrize(("good_s", "until"), [(3600.0, 3300.0), (60.0, 30.0), (None, 300.0)])
async def test_another_is_asked_for_shortly_before_its_end(good_s, until):
    vault = Vault(good_s)
    tokens = vault.tokens()
    await shown(tokens)
    vault.time += until - 1
    assert await shown(tokens) == "Bearer token-1"
    vault.time += 2
    assert await shown(tokens) == "Bearer token-2"


async def test_where_none_can_be_had_the_last_one_serves_to_its_end():
    vault = Vault()
    tokens = vault.tokens()
    await shown(tokens)
    vault.away = True
    vault.time += 3500
    assert await shown(tokens) == "Bearer token-1"
    vault.time += 101
    with pytest.raises(Unavailable):
        await shown(tokens)
    vault.away = False
    assert (await shown(tokens)).startswith("Bearer token-")


async def test_who_is_cancelled_leaves_its_turn_to_the_next():
    vault = Vault()
    tokens = vault.tokens()
    first, second = asyncio.ensure_future(shown(tokens)), asyncio.ensure_future(shown(tokens))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).startswith("Bearer token-")


def test_several_loops_are_served():
    tokens = Vault().tokens()
    assert {asyncio.run(shown(tokens)) for _ in range(3)} == {"Bearer token-1"}


@pytest.fixture
def functions(monkeypatch):
    module = ModuleType("own_tokens")
    monkeypatch.setitem(sys.modules, "own_tokens", module)
    return module


async def token_later():
    return "t-async", 5_000.0


class Access:
    token, expires_on = "t-object", 7_000


def raising():
    raise OSError("sk-secret")


@pytest.mark.parametrize(
    ("function", "value", "ends_at"),
    [(lambda: "t-sync", "t-sync", None), (token_later, "t-async", 5_000.0), (Access, "t-object", 7_000)],
)
async def test_a_function_is_asked_by_its_name(functions, function, value, ends_at):
    functions.give = function
    token = await tokens_by("own_tokens:give")()
    assert (token.value.reveal(), token.ends_at) == (value, ends_at)
    assert value not in repr(token)


async def test_what_a_function_does_wrong_is_told_without_its_words(functions):
    functions.give, functions.other = raising, lambda: 7
    with pytest.raises(AuthError, match="own_tokens:give gave no token: OSError") as failed:
        await tokens_by("own_tokens:give")()
    assert "sk-secret" not in str(failed.value)
    with pytest.raises(dspex.ConfigurationError, match="own_tokens:other gave int"):
        await tokens_by("own_tokens:other")()


@pytest.mark.parametrize("path", ["own_tokens", "own_tokens:missing", "no_such_module:x", ":x"])
def test_a_function_that_is_not_there_is_told(functions, path):
    with pytest.raises(dspex.ConfigurationError, match=r"write package\.module:function"):
        tokens_by(path)
