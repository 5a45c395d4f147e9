"""WireMock: installed once, started, stopped, and what is missing is named; npm and node are small scripts here."""

import os
import stat

import pytest

from dspex.testing import WireMock, WireMockMissing

# npm makes a program, and notes that it was asked; node "runs" it.
NPM = """#!/bin/sh
echo asked >> "$DSPEX_CACHE_DIR/asked"
while [ "$1" != --prefix ]; do shift; done
mkdir -p "$2/node_modules/@copilotkit/aimock/dist" && echo > "$2/node_modules/@copilotkit/aimock/dist/cli.js"
"""
NODE = """#!/bin/sh
echo "aimock server listening on http://127.0.0.1:4321"
exec sleep 60
"""


@pytest.fixture
def tools(tmp_path, monkeypatch):
    """Puts scripts of these names on PATH, before the system's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("DSPEX_CACHE_DIR", str(tmp_path))

    def tools(*, alone=False, **scripts):
        for name, script in scripts.items():
            (folder / name).write_text(script)
            (folder / name).chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", str(folder) if alone else f"{folder}{os.pathsep}{os.environ['PATH']}")

    return tools


def test_it_is_installed_once_and_tells_where_it_listens(tools, tmp_path):
    tools(npm=NPM, node=NODE)
    for _ in range(2):
        with WireMock([]) as mock:
            assert mock.url == "http://127.0.0.1:4321"
    assert (tmp_path / "asked").read_text().count("asked") == 1
    assert [path.name for path in (tmp_path / "npm").iterdir()] == ["aimock-1.43.0"]


@pytest.mark.parametrize("missing", ["npm", "node"])
def test_a_tool_that_is_missing_is_named(tools, missing):
    tools(alone=True, **{name: script for name, script in {"npm": NPM, "node": NODE}.items() if name != missing})
    with pytest.raises(WireMockMissing, match=r"Node\.js 20"), WireMock([]):
        pass


@pytest.mark.parametrize(
    ("scripts", "words"),
    [
        ({"npm": "#!/bin/sh\necho no such package >&2\nexit 1\n", "node": NODE}, "no such package"),
        ({"npm": NPM, "node": "#!/bin/sh\necho cannot find module\n"}, "does not start: cannot find module"),
    ],
    ids=["install", "start"],
)
def test_what_goes_wrong_is_told_in_the_tools_words(tools, tmp_path, scripts, words):
    tools(**scripts)
    with pytest.raises(WireMockMissing, match=words), WireMock([]):
        pass
    assert not [path for path in (tmp_path / "npm").iterdir() if not path.name.startswith("aimock")]
