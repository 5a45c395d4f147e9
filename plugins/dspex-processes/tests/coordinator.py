"""A coordinator that can be killed: `python coordinator.py FOLDER LOG` compiles with worker processes, and saves the program."""

import asyncio
import sys
from pathlib import Path

import dspex
from dspex.testing.errands import Doubles
from dspex.testing.executor_contract import compiled
from dspex_processes.executor import ProcessExecutor


async def main(folder: Path, log: Path) -> None:
    async with ProcessExecutor({"workers": 2}) as executor, dspex.App(cache=False):
        sys.stdout.write("begun\n")
        sys.stdout.flush()
        program = await compiled(folder, log, executor=executor)
        program.save(folder / "program.json")
        assert isinstance(program, Doubles)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
