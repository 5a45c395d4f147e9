"""BwrapSandbox: a CPython process in bubblewrap for each run or session."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dspex.plugin import CodeTool, ConfigurationError, Output, SandboxError, SandboxLimits
from dspex_bwrap import walls
from dspex_bwrap.session import BwrapSession

NONE: Mapping[str, Any] = MappingProxyType({})
LIMITS = SandboxLimits()
TRIAL_S = 4.0


class BwrapSandbox:
    """Runs Python as the host has it, with its standard library and nothing else of the host's files.

    Option: `paths`, folders that code may read and import from, as a virtual environment's site-packages. Raises
    ConfigurationError for others, and for folders that are not there.
    """

    def __init__(self, options: Mapping[str, Any] = NONE) -> None:
        given = dict(options)
        self._paths = [str(Path(path).resolve()) for path in given.pop("paths", ())]
        if given or not all(Path(path).is_dir() for path in self._paths):
            raise ConfigurationError(f"BwrapSandbox takes one option, paths, folders that exist; not {dict(options)}.")
        self.identity = ["bwrap", *self._paths]
        packages = "The packages of the host can be imported." if self._paths else "There are no packages from outside."
        self.about = f"The code runs in CPython with its standard library, without a network. {packages}"

    async def run(
        self,
        code: str,
        *,
        files: Mapping[str, bytes] = NONE,
        tools: Mapping[str, CodeTool] = NONE,
        limits: SandboxLimits = LIMITS,
    ) -> Output:
        """One run, in a process of its own. Raises SandboxError, and what a tool raises but ToolError."""
        async with BwrapSession(files, tools, limits, self._paths, lasts=False) as session:
            return await session.run(code)

    def session(
        self,
        *,
        files: Mapping[str, bytes] = NONE,
        tools: Mapping[str, CodeTool] = NONE,
        limits: SandboxLimits = LIMITS,
    ) -> BwrapSession:
        """Several runs in one process, for `async with`."""
        return BwrapSession(files, tools, limits, self._paths, lasts=True)

    @staticmethod
    def notice() -> str:
        """What `dspex doctor` says: that a sandbox could be made. Raises SandboxError where none can."""
        words = walls.command(["-c", "print('made')"], [], None)
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=TRIAL_S, check=False)  # noqa: S603  our own words
        except subprocess.TimeoutExpired:
            raise SandboxError(f"bubblewrap made no sandbox within {TRIAL_S:g} s") from None
        if done.stdout != "made\n":
            raise SandboxError(
                f"bubblewrap cannot make a sandbox here: {' '.join(done.stderr.split())[:300]}. The kernel, or the container "
                "around this, has to allow namespaces"
            )
        as_whom = "as root, code as a user of its own" if walls.is_root() else "in a user namespace"
        return f"bubblewrap makes sandboxes here, {as_whom}"

    def __repr__(self) -> str:
        return f"BwrapSandbox({{'paths': {self._paths}}})" if self._paths else "BwrapSandbox()"
