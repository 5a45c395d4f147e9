"""A model's server with a FaultServer in a process of its own: mixed faults in given shares, and how many requests came."""

import json
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from dspex.testing import FaultServer

ANSWER = json.dumps(
    {"choices": [{"message": {"content": "4"}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 9}}
)
RESETS, LIMITED, SLOW, MALFORMED = 0.05, 0.05, 0.02, 0.01
SLOW_S = 3.0


class Endpoint:
    """The base URL, and on demand the number of requests since it was last asked for."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.url = f"{self._line()}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.kill()
        self._process.communicate()

    def requests(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@contextmanager
def endpoint(share: float = 1.0, delay: float = 0.1, seed: int = 0) -> Iterator[Endpoint]:
    """A server whose faults come in `share` times the shares above, and its other answers after `delay` seconds."""
    command = [sys.executable, __file__, str(share), str(delay), str(seed)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with Endpoint(process) as made:
        yield made


def script(server: FaultServer, share: float, delay: float, rng: random.Random, steps: int) -> None:
    """So many more answers, each by chance."""
    for _ in range(steps):
        luck = rng.random() / share if share else 1.0
        if luck < RESETS:
            server.then_fault("reset", ANSWER)
        elif luck < RESETS + LIMITED:
            server.then(429)
        elif luck < RESETS + LIMITED + MALFORMED:
            server.then_fault("JSON cut off", ANSWER)
        elif luck < RESETS + LIMITED + MALFORMED + SLOW:
            server.then(200, ANSWER, delay=SLOW_S)
        else:
            server.then(200, ANSWER, delay=delay)


def main(share: float, delay: float, seed: int) -> None:
    rng = random.Random(seed)
    with FaultServer() as server:
        server.then(200, ANSWER, delay=delay, times=None)
        script(server, share, delay, rng, 150_000 if share else 0)
        print(server.url, flush=True)
        for _ in sys.stdin:
            came = len(server.requests)
            script(server, share, delay, rng, came if share else 0)
            server.requests.clear()
            print(came, flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]))
