"""Qdrant's HTTP API over the engine of qdrant-client: its own models read each request, its own engine answers."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiohttp import web
from qdrant_client import QdrantClient, models


class Server:
    """A server on a thread, over an engine; `keys` are the api-key headers that came."""

    def __init__(self, engine: Any) -> None:
        self.keys: list[str | None] = []
        self.engine = engine
        self._started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._start())
        self._loop.run_forever()
        self._loop.run_until_complete(self._runner.cleanup())
        self._loop.close()

    async def _start(self) -> None:
        app = web.Application(client_max_size=1 << 26)
        app.router.add_route("*", "/collections/{name}{rest:.*}", self.answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
        self._started.set()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def answer(self, request: web.Request) -> web.Response:
        self.keys.append(request.headers.get("api-key"))
        name, rest = request.match_info["name"], request.match_info["rest"]
        body = await request.text()
        try:
            if (request.method, rest) != ("PUT", "") and not self.engine.exists(name):
                return _refused(404, f"Not found: Collection `{name}` doesn't exist!")
            return web.json_response(
                {"result": self.engine.do(name, request.method, rest, body), "status": "ok", "time": 0.0}
            )
        except ValueError as error:
            return _refused(400, str(error))


class LocalEngine:
    """The engine of qdrant-client, in Python; `client` is its own."""

    def __init__(self) -> None:
        self.client = QdrantClient(":memory:")

    def exists(self, name: str) -> bool:
        return self.client.collection_exists(name)

    def do(self, name: str, method: str, rest: str, body: str) -> Any:
        match method, rest:
            case "GET", "":
                return json.loads(self.client.get_collection(name).model_dump_json())
            case "PUT", "":
                made = models.CreateCollection.model_validate_json(body)
                return self.client.create_collection(name, vectors_config=made.vectors)
            case "PUT", "/points":
                self.client.upsert(name, models.PointsList.model_validate_json(body).points)
            case "POST", "/points/delete":
                self.client.delete(name, models.PointIdsList.model_validate_json(body))
            case "POST", "/points/query/batch":
                asked = models.QueryRequestBatch.model_validate_json(body)
                found = self.client.query_batch_points(name, asked.searches)
                return [json.loads(one.model_dump_json()) for one in found]
            case _:
                raise ValueError(f"{method} {rest}")
        return {"operation_id": 0, "status": "completed"}


def _refused(status: int, said: str) -> web.Response:
    return web.json_response({"status": {"error": said}, "time": 0.0}, status=status)


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """A server for all tests, each with a collection of its own."""
    made = Server(LocalEngine())
    yield made
    made.stop()


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[Any], Server]]:
    """Makes servers over other engines."""
    made: list[Server] = []

    def serve(engine: Any) -> Server:
        made.append(Server(engine))
        return made[-1]

    yield serve
    for server in made:
        server.stop()


@pytest.fixture(scope="class")
def shared_server(request: pytest.FixtureRequest, server: Server) -> None:
    """The server, as an attribute of a test class."""
    request.cls.server = server
