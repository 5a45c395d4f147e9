"""Proxies by the environment: who goes by one, and what is told of one that fails."""

import os

import pytest

from dspex.core.errors import ConfigurationError, Unavailable

ELSEWHERE = "http://api.acme.test/v1"


@pytest.fixture(autouse=True)
def no_proxy_of_the_machines(monkeypatch):
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
async def test_an_address_elsewhere_is_reached_by_the_proxy_that_the_environment_names(
    server, client, monkeypatch, variable
):
    monkeypatch.setenv(variable, server.url.replace("://", "://user:pass-canary@"))
    server.then(200, b"{}", times=None)
    http = client(ELSEWHERE)
    for _ in range(2):
        assert (await http.request("POST", "/chat", json={})).body == b"{}"
    asked = server.requests[0]
    assert asked.path == f"{ELSEWHERE}/chat"
    assert asked.headers["proxy-authorization"] == "Basic dXNlcjpwYXNzLWNhbmFyeQ=="


async def test_this_machine_and_what_no_proxy_names_are_reached_without(server, client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    server.then(200, b"{}")
    assert (await client().request("POST", "/chat", json={})).body == b"{}"
    monkeypatch.setenv("NO_PROXY", ".acme.test")
    with pytest.raises(Unavailable, match="No address for"):
        await client(ELSEWHERE).request("POST", "/chat", json={})


async def test_a_proxy_that_does_not_answer_is_told_as_that(client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://user:pass-canary@127.0.0.1:9")
    with pytest.raises(
        Unavailable, match=r"No connection to the proxy for http://api\.acme\.test.*HTTP_PROXY"
    ) as caught:
        await client(ELSEWHERE).request("POST", "/chat", json={})
    assert "canary" not in str(caught.value)


async def test_a_proxy_that_lets_nobody_through_is_told_in_its_words(server, client, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", server.url)
    server.then(407)
    with pytest.raises(Unavailable, match=r"does not let through to https://api.acme.test.*: 407") as caught:
        await client("https://api.acme.test/v1").request("POST", "/chat", json={})
    assert caught.value.retryable is False
    assert server.requests[0].method == "CONNECT"


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:1080", "https://proxy.test:1", "http://[::1"])
async def test_a_proxy_of_another_kind_is_refused_and_not_passed_by(client, monkeypatch, proxy):
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigurationError, match="looks like http://host:port"):
        await client(ELSEWHERE).request("POST", "/chat", json={})
