"""Callbacks hear of a compile: its optimizer, what it was given, and the program or the error that came of it."""

import pytest

import dspex


class Seen(dspex.BaseCallback):
    def __init__(self):
        self.told = []

    async def on_compile_start(self, call_id, instance, inputs):
        self.told.append((call_id, instance, inputs))

    def on_compile_end(self, call_id, outputs, exception=None):
        self.told.append((call_id, outputs, exception))


async def test_a_compile_is_told_of(lab, app, tmp_path):
    seen, optimizer = Seen(), lab.Search()
    dspex.configure(callbacks=[seen])
    program = await lab.compiled(lab.Model(), optimizer=optimizer, run_dir=tmp_path / "run", **lab.SMALL)
    (first, instance, inputs), (last, outputs, error) = seen.told
    assert first == last
    assert instance is optimizer
    assert {"student", "trainset", "run_dir"} <= inputs.keys()
    assert outputs is program
    assert error is None


async def test_a_compile_that_fails_is_told_of(lab, app, tmp_path):
    seen = Seen()
    dspex.configure(callbacks=[seen])
    with pytest.raises(dspex.ConfigurationError) as caught:
        await lab.compiled(lab.Model(), optimizer=lab.Search(), run_dir=tmp_path / "run", nonsense=1)
    assert seen.told[-1][1:] == (None, caught.value)
