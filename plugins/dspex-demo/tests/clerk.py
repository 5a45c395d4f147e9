"""A model that can do the tasks from demos only; as a program, the demo on it: `python clerk.py FOLDER LOG DELAY [BYTES]`.

It ends as the `dspex` command does. BYTES are the most that a file may have, as on a full disk.
"""

import asyncio
import re
import resource
import sys
from pathlib import Path

import click

import dspex
from dspex.cli.main import cli, main
from dspex.plugin import Capabilities, LMRequest, LMResponse, Usage
from dspex_demo import command
from dspex_demo.tasks import TASKS


class Clerk:
    """An LMProvider that knows all answers of a task, and gives them only where the prompt shows demos.

    With `log`, each call that reaches it is written there first and ended there after `delay` seconds.
    """

    capabilities = Capabilities(chat=False, max_concurrency=4)

    def __init__(self, task: str, seed: int = 0, log: Path | None = None, delay: float = 0.0) -> None:
        data = TASKS[task].data(seed)
        given, self._wanted = TASKS[task].given, TASKS[task].wanted
        self._answers = {one[given]: one[self._wanted] for one in (*data.train, *data.validation, *data.test)}
        self._prefix = f"{given.title()}: "
        self._log, self._delay = log, delay
        self.calls = 0

    async def complete(self, request: LMRequest) -> LMResponse:
        """The answer, where there are demos and the answer does not begin with an early letter."""
        self.calls += 1
        prompt = request.messages[-1].text
        *demos, asked = re.findall(rf"^{self._prefix}(.*)$", prompt, re.MULTILINE)
        self._note(f"+ {len(demos)} {asked} {hash_of(prompt)}")
        await asyncio.sleep(self._delay)
        self._note(f"- {len(demos)} {asked} {hash_of(prompt)}")
        # Which demos there are decides as well, so that one set is better than another.
        knows = demos and len(demos[0] + asked) % 4
        answer = self._answers[asked] if knows else "None, None"
        return LMResponse.from_text(f" {answer}", Usage(len(prompt) // 4, 4))

    def _note(self, line: str) -> None:
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(f"{line}\n")


def hash_of(text: str) -> str:
    """A short name of a prompt."""
    return f"{sum(ord(letter) * (place + 1) for place, letter in enumerate(text)):x}"


@click.command()
@click.argument("folder", type=Path)
@click.argument("log", type=Path)
@click.argument("delay", type=float)
@click.argument("most", type=int, required=False)
def clerk(folder: Path, log: Path, delay: float, most: int | None) -> None:
    """The demo on the clerk."""
    if most is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    command.run("name", 0, folder, dspex.LM("office/clerk", provider=Clerk("name", log=log, delay=delay)))


if __name__ == "__main__":
    cli.add_command(clerk)
    sys.argv.insert(1, "clerk")
    main()
