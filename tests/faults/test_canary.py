"""One run of many faults with keys that must not be seen, and a look into everything that it wrote."""

import contextlib
import io
import json
import logging
import pickle
import traceback
import warnings

import pytest

import dspex
from dspex.testing import FAULTS

ANSWER = b'{"text": "[[ ## answer ## ]]\\n4"}'
EVENTS = b'data: {"text": "Hel"}\n\ndata: {"text": "lo"}\n\ndata: [DONE]\n\n'
KEY, TOKEN = "sk-canary-0123456789", "canary-token-9876543210"
ECHOES = {
    400: f"Authorization: Bearer {KEY} is malformed",
    401: json.dumps({"error": {"message": f"The key {KEY} is wrong", "code": KEY}}),
    403: f"<html>{KEY} may not</html>",
    429: json.dumps({"error": {"message": f"{KEY}: slow down; sent with {TOKEN}"}}),
    500: json.dumps({"detail": [KEY, {"x-org-token": TOKEN}]}),
}


class Kept(dict):
    """A CacheBackend that keeps every byte it was given."""

    async def set(self, key, value, ttl=None):
        self[key] = value

    async def get(self, key):
        return super().get(key)

    async def delete(self, key):
        pass

    async def aclose(self):
        pass


class Lines:
    """What a structlog logger takes, as text."""

    def __init__(self):
        self.seen = []

    def __getattr__(self, level):
        return lambda event, **fields: self.seen.append(repr((level, event, fields)))


def recorded(path):
    """A cassette around the run, where there is one."""
    return dspex.cassette(path) if hasattr(dspex, "cassette") else contextlib.nullcontext()


async def outcome(work):
    try:
        return repr(await work)
    except dspex.DspexError as error:
        # With the values of local variables, as crash reporters and rich tracebacks write them.
        told = traceback.TracebackException.from_exception(error, capture_locals=True)
        return "".join(told.format()) + repr(vars(error))


async def streamed(lm):
    request = lm.request((dspex.plugin.Message.of("user", "2+2?"),), {})
    return [delta async for delta in lm.stream(request)]


@pytest.mark.slow
@pytest.mark.fault("R25")
@pytest.mark.fault("X01")
@pytest.mark.fault("X02")
async def test_no_key_is_in_anything_that_a_run_of_faults_leaves(server, app, lm, tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    lines, heard, cache, history = Lines(), [], Kept(), io.StringIO()
    names = [name for name, fault in FAULTS.items() if not fault.streams]
    streams = [name for name, fault in FAULTS.items() if fault.streams]
    found = {}
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        async with app(cache=cache) as one, recorded(tmp_path / "cassette.jsonl"):
            one.bus.subscribe(heard.append, "test")
            dspex.enable_logging("debug", logger=lines)
            model = lm(api_key=f"{KEY}\n", headers={"X-Org-Token": TOKEN}, cache=True, breaker=False, timeout=5.0)
            hasty = model.copy(timeout=0.1)
            program = dspex.Predict("question -> answer")
            program.lm = model
            for name in names:
                server.then_fault(name, ANSWER)
                asked = hasty if dspex.LMTimeout in FAULTS[name].raises else model
                found[name] = await outcome(program.acall(question=name, lm=asked))
            for name in streams:
                server.then_fault(name, EVENTS)
                found[name] = await outcome(streamed(hasty if dspex.LMTimeout in FAULTS[name].raises else model))
            for status, text in ECHOES.items():
                server.then(status, text)
                found[str(status)] = await outcome(program.acall(question=str(status)))
            dspex.inspect_history(1_000, file=history)
            found["endpoint"] = repr([model, vars(model), model.history, model.dump_state(), model.service.endpoint])
            found["settings"] = repr([dspex.settings, one])
            with contextlib.suppress(TypeError):  # a Secret refuses it
                found["pickle"] = pickle.dumps(model).decode("latin-1")
            program.save(tmp_path / "program.json")
            dspex.disable_logging()
    found |= {"history": history.getvalue(), "log lines": "\n".join(lines.seen), "events": repr(heard)}
    found |= {
        "logging": caplog.text,
        "printed": "".join(capfd.readouterr()),
        "warnings": repr([str(one) for one in warned]),
    }
    found |= {"cache": repr(cache), **{path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}}
    assert all(found[sink] for sink in ("history", "log lines", "events", "cache", "program.json"))
    assert any(KEY in request.headers.get("authorization", "") for request in server.requests)
    assert any(request.headers.get("x-org-token") == TOKEN for request in server.requests)
    assert [sink for sink, text in found.items() if KEY in text or TOKEN in text] == []
