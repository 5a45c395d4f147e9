"""Have uv, which makes an environment in a tenth of pip's time: the user's own, else one that pip brings.

`python .ci/fetch_uv.py FOLDER SETTINGS` puts it into FOLDER, empty where it can't be had or finds no package, and the user's settings
of pip into the file SETTINGS, as variables for uv. It is tried once.
"""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

# What uv calls a setting of pip's, which it does not read by itself.
NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "constraint": "UV_CONSTRAINT",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
}
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE")


def settings() -> dict[str, str]:
    """The user's settings of pip, as variables for uv; none where uv has been told of an index itself."""
    if any(name in os.environ for name in INDEXES):
        return {}
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    lines = [re.fullmatch(r"(global|install|:env:)\.([\w-]+)=(['\"].*)", line) for line in listed.stdout.splitlines()]
    # In this order, the later overrides.
    found = {one[2]: one[3] for kind in ("global", "install", ":env:") for one in lines if one and one[1] == kind}
    told = {
        variable: ("," if name == "find-links" else " ").join(ast.literal_eval(found[name]).split())
        for name, variable in NAMES.items()
        if name in found and variable not in os.environ
    }
    # pip takes the best that any index has, uv what the first one has that knows the name.
    return {"UV_INDEX_STRATEGY": "unsafe-best-match", **told}


def fetch(folder: Path, told: dict[str, str]) -> None:
    """Bring uv into a folder by pip, and try it."""
    print("Fetching uv")
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    options = ("--quiet", "--no-deps", "--only-binary=:all:", "-c", "constraints.txt", "--target", str(part))
    commands = (
        [sys.executable, "-m", "pip", "install", *options, "uv"],
        [str(part / "bin" / "uv"), "pip", "compile", "--quiet", "-"],
    )
    for command in commands:
        done = subprocess.run(
            command, input="hatchling", capture_output=True, text=True, check=False, env=os.environ | told
        )
        if done.returncode:
            print(f"Going on without uv, more slowly. To try again: rm -r {folder}\n{done.stderr}")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            break
    part.rename(folder)


if __name__ == "__main__":
    target, file = Path(sys.argv[1]), Path(sys.argv[2])
    found = settings()
    file.write_text(json.dumps(found))
    has_uv = os.environ.get("UV") or shutil.which("uv") or importlib.util.find_spec("uv")
    if not (target.exists() or has_uv):
        fetch(target, found)
