"""A web server around a program: one App for its whole life, one isolated request for each question.

python examples/server.py openai/gpt-4o-mini
curl -d '{"question": "Where is Lyon?"}' localhost:8080/ask
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

import dspex

PROGRAM = web.AppKey("program", dspex.Module)
APP = web.AppKey("app", dspex.App)
ANSWERS = web.AppKey("answers", asyncio.Queue)
STATUS = {dspex.RateLimited: 429, dspex.LMTimeout: 504, dspex.BudgetExceeded: 402, dspex.BadRequest: 400}


class Answer(dspex.Module):
    """A draft, then a second look at it."""

    def __init__(self) -> None:
        self.draft = dspex.Predict("question -> draft")
        self.check = dspex.Predict("question, draft -> answer")

    async def aforward(self, question: str) -> dspex.Prediction:
        draft = (await self.draft.acall(question=question)).draft
        prediction: dspex.Prediction = await self.check.acall(question=question, draft=draft)
        return prediction


async def ask(request: web.Request) -> web.Response:
    """POST {"question": ...}: the answer and what it took; a failure has its class, its words and a fitting status."""
    question = str((await request.json())["question"])
    try:
        with dspex.budget(calls=20, seconds=60) as scope:
            answer = (await request.app[PROGRAM].acall(question=question)).answer
    except dspex.DspexError as error:
        status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 502)
        return web.json_response({"error": type(error).__name__, "message": str(error)}, status=status)
    request.app[ANSWERS].put_nowait({"question": question, "answer": answer})
    return web.json_response({"answer": answer, "calls": scope.spent.calls})


async def health(request: web.Request) -> web.Response:
    """GET: the services and supervised children, with their states and how often each was started again."""
    rows = [{"name": row.name, "state": row.state, "restarts": row.restarts} for row in request.app[APP].tree()]
    return web.json_response(rows, status=200 if all(row["state"] == "running" for row in rows) else 503)


async def record(answers: asyncio.Queue[dict[str, str]], path: Path) -> None:
    """Background work, which the App starts again when it dies: a line in a file for each answer."""
    while True:
        line = json.dumps(await answers.get())
        with path.open("a", encoding="utf-8") as file:  # a short line; a slow disk would want a thread
            file.write(f"{line}\n")


def server(lm: dspex.LM, log: Path = Path("answers.jsonl"), **settings: Any) -> web.Application:
    """The web application. The App opens with it, and at its end closes what it holds; requests find it by their context."""

    async def lifetime(site: web.Application) -> AsyncIterator[None]:
        async with dspex.App(**settings) as app:
            site[APP], site[ANSWERS] = app, asyncio.Queue()
            app.supervise("record", lambda: record(site[ANSWERS], log))
            yield

    site = web.Application()
    site[PROGRAM] = Answer()
    site[PROGRAM].set_lm(lm)
    site.cleanup_ctx.append(lifetime)
    site.add_routes([web.post("/ask", ask), web.get("/health", health)])
    return site


if __name__ == "__main__":
    web.run_app(server(dspex.LM(sys.argv[1])), port=8080)
