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
sources, modules, kinds = json.loads(sys.argv[1])
sys.path[:0] = sources
found = {}
for name, ones in modules.items():
    hooks = [(kind, getattr(importlib.import_module(one), f"dspex_{kind}", list)) for one in ones for kind in kinds]
    found[name] = [(kind, made.name) for kind, hook in hooks for made in hook()]
print(json.dumps(found))
"""


def declared(folders):
    """The kinds and names that the hooks of packages give, each with its package, by their sources."""
    projects = [tomllib.loads((folder / "pyproject.toml").read_text())["project"] for folder in folders]
    modules = {one["name"]: [*one.get("entry-points", {}).get("dspex", {}).values()] for one in projects}
    asked = json.dumps([[str(folder / "src") for folder in folders], modules, [*KIND_WORDS]])
    done = subprocess.run([sys.executable, "-c", DECLARED, asked], capture_output=True, text=True, check=True)
    return {tuple(one): name for name, ones in json.loads(done.stdout).items() for one in ones}


def test_errors_say_what_to_install_for_each_name_that_a_package_here_offers():
    folders = [
        path.parent for group in ("plugins", "contrib") for path in sorted(ROOT.glob(f"{group}/*/pyproject.toml"))
    ]
    offered = declared(folders)
    assert {one: name for one, name in offered.items() if one not in SHOWN and one not in PACKAGES} == {}
    assert [one for one in PACKAGES if one not in offered] == []


def test_a_hint_names_the_package():
    assert install_hint("lm_providers", "groq") == 'Install it: pip install "dspex-openai".'
    assert install_hint("embedders", "openai") == 'Install it: pip install "dspex-openai".'
