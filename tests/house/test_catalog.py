"""What every package of this repository declares is known to the kernel's errors, which say what to install."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from dspex.plugin.catalog import KIND_WORDS, PACKAGES, install_hint

ROOT = Path(__file__).parents[2]
# No user looks for it: it shows how a plugin is written.
SHOWN = {("lm_providers", "echo")}
DECLARED = """
import importlib, json, sys
modules, kinds = json.loads(sys.argv[1])
hooks = [(kind, getattr(importlib.import_module(module), f"dspex_{kind}", list)) for module in modules for kind in kinds]
print(json.dumps([(kind, made.name) for kind, hook in hooks for made in hook()]))
"""


def declared(folder):
    """The kinds and names that a package's hooks give, by its sources."""
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    modules = [*project.get("entry-points", {}).get("dspex", {}).values()]
    asked = json.dumps([modules, [*KIND_WORDS]])
    run = [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(folder / 'src')!r})\n{DECLARED}", asked]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    return project["name"], [tuple(one) for one in json.loads(done.stdout)]


def test_errors_say_what_to_install_for_each_name_that_a_package_here_offers():
    folders = [
        path.parent for group in ("plugins", "contrib") for path in sorted(ROOT.glob(f"{group}/*/pyproject.toml"))
    ]
    offered = {one: name for name, ones in map(declared, folders) for one in ones}
    assert {one: name for one, name in offered.items() if one not in SHOWN and one not in PACKAGES} == {}
    assert [one for one in PACKAGES if one not in offered] == []


def test_a_hint_names_the_package():
    assert install_hint("lm_providers", "groq") == 'Install it: pip install "dspex-openai".'
    assert install_hint("embedders", "openai") == 'Install it: pip install "dspex-openai".'
