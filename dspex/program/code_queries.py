"""Code that asks models: the functions that it has for that, and how often it may."""

import asyncio
from collections import Counter
from typing import Any

from dspex.app.app import current_app
from dspex.core.errors import AuthError, LMError, ToolError
from dspex.core.identity import digest
from dspex.plugin.contracts import CodeTool
from dspex.program.agent_journal import Memory
from dspex.program.calling import model
from dspex.program.code_pieces import Gave


class _Failed(Exception):
    """A model did not reply, now or in a run before; the code may go on."""


class Queries:
    """What the code asks `lm`, `most` times at most in a run; what `memory` has is not asked again."""

    def __init__(self, lm: Any, most: int, memory: Memory) -> None:
        self._lm = lm
        self._most = self._left = most
        self._memory = memory
        self._asked: Counter[str] = Counter()
        self.tools: dict[str, CodeTool] = {"llm_query": self.one, "llm_query_batched": self.batch}

    async def one(self, prompt: str) -> str:
        """A reply. Raises ToolError where it failed, or no call is left."""
        self._take(1)
        try:
            return await self._reply(prompt)
        except _Failed as error:
            raise ToolError(f"llm_query failed: {error}") from error.__cause__

    async def batch(self, prompts: list[str]) -> list[str]:
        """Replies in order, asked for at once; one that failed says so."""
        self._take(len(prompts))
        tasks = [asyncio.ensure_future(self._told(prompt)) for prompt in prompts]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            for task in tasks:
                task.cancel()

    async def _told(self, prompt: str) -> str:
        try:
            return await self._reply(prompt)
        except _Failed as error:
            return f"[ERROR] {error}"

    async def _reply(self, prompt: str) -> str:
        if not isinstance(prompt, str) or not prompt:  # type: ignore[redundant-expr]  # a model wrote the call
            raise ToolError("llm_query takes a prompt, a text that is not empty.")
        said = digest(prompt)
        self._asked[said] += 1
        key = f"query/{said}/{self._asked[said]}"
        gave = self._memory.found(key, Gave)
        if gave is not None and gave.error is not None:
            raise _Failed(gave.error)
        if gave is not None:
            return str(gave.value)
        try:
            [first, *_] = await model(self._lm, current_app()).acall(prompt)
        except AuthError:
            raise  # no other prompt helps
        except LMError as error:
            self._memory.keep(key, Gave(error=str(error)))
            raise _Failed(str(error)) from error
        reply = first if isinstance(first, str) else str(first["text"])
        self._memory.keep(key, Gave(reply))
        return reply

    def _take(self, count: int) -> None:
        if count > self._left:
            raise ToolError(
                f"At most {self._most} calls of models are allowed in all, {self._left} are left: do more by code."
            )
        self._left -= count
