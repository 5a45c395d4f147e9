"""A coordinator that can be killed: `python coordinator.py FOLDER LOG` compiles with worker processes."""

import asyncio
import sys
from pathlib import Path

import dspex
from dspex.testing.errands import note
from dspex.testing.executor_contract import compiled
from dspex_processes.executor import ProcessExecutor


async def tell(executor: ProcessExecutor, path: Path) -> None:
    """Write down which workers there are, whenever there are others."""
    told: list[int] = []
    while True:
        if executor.pids != told:
            told = executor.pids
            for pid in told:
                note(str(path), str(pid))
        await asyncio.sleep(0.002)


async def main(folder: Path, log: Path) -> None:
    async with ProcessExecutor({"workers": 2}) as executor, dspex.App(cache=False):
        telling = asyncio.create_task(tell(executor, log.with_name("pids")))
        await compiled(folder, log, executor=executor)
        telling.cancel()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
