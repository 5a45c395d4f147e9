"""The server that answers by a script, where its answer depends on what was asked."""

import json
import urllib.error
import urllib.request

import pytest

from dspex.testing import FaultServer


def asked(server: FaultServer, body: object) -> object:
    request = urllib.request.Request(server.url, json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as reply:
        return json.load(reply)


def test_an_answer_can_be_made_of_the_request():
    with FaultServer() as server:
        server.then_made(lambda body: {"twice": body["x"] * 2}, times=None)
        assert [asked(server, {"x": x}) for x in (1, 2)] == [{"twice": 2}, {"twice": 4}]


def test_a_request_that_no_answer_can_be_made_of_is_refused():
    with FaultServer() as server:
        server.then_made(lambda body: body["y"])
        with pytest.raises(urllib.error.HTTPError, match="400") as refused:
            asked(server, {"x": 1})
        assert "KeyError: 'y'" in json.load(refused.value)["error"]["message"]
