"""The kit for retrievers over the HTTP API and Qdrant's own engine, in Rust: the one that a server has, as qdrant-edge-py brings it."""

import hashlib
import json
from typing import Any

import pytest
import qdrant_edge as edge
from qdrant_client import models

import dspex_qdrant
from dspex.plugin import Spec
from dspex.testing import RetrieverContract


class Engine:
    """A shard a collection, in a folder of its own."""

    def __init__(self, folder: Any) -> None:
        self._folder = folder
        self._shards: dict[str, tuple[edge.EdgeShard, dict[str, Any]]] = {}

    def close(self) -> None:
        for shard, _ in self._shards.values():
            shard.close()

    def exists(self, name: str) -> bool:
        return name in self._shards

    def do(self, name: str, method: str, rest: str, body: str) -> Any:
        match method, rest:
            case "GET", "":
                return {"config": {"params": {"vectors": self._shards[name][1]}}}
            case "PUT", "":
                return self._create(name, models.CreateCollection.model_validate_json(body).vectors)
            case "PUT", "/points":
                self._upsert(name, models.PointsList.model_validate_json(body).points)
            case "POST", "/points/delete":
                ids = models.PointIdsList.model_validate_json(body).points
                self._shards[name][0].update(edge.UpdateOperation.delete_points(ids))
            case "POST", "/points/query/batch":
                asked = models.QueryRequestBatch.model_validate_json(body)
                return [{"points": self._found(name, one)} for one in asked.searches]
            case _:
                raise ValueError(f"{method} {rest}")
        return {"operation_id": 0, "status": "completed"}

    def _create(self, name: str, vectors: Any) -> bool:
        if name in self._shards:
            raise ValueError(f"Collection {name} already exists")
        folder = self._folder / str(len(self._shards))
        folder.mkdir()
        params = edge.EdgeVectorParams(vectors.size, getattr(edge.Distance, vectors.distance.value))
        shard = edge.EdgeShard.create(str(folder), edge.EdgeConfig(params))
        self._shards[name] = (shard, json.loads(vectors.model_dump_json(exclude_none=True)))
        return True

    def _upsert(self, name: str, points: Any) -> None:
        shard, vectors = self._shards[name]
        if any(len(point.vector) != vectors["size"] for point in points):
            raise ValueError(f"Wrong input: Vector dimension error: expected dim: {vectors['size']}")
        made = [
            edge.Point(point.id, point.vector, {**point.payload, BOOLEANS: booleans(point.payload)}) for point in points
        ]
        shard.update(edge.UpdateOperation.upsert_points(made))

    def _found(self, name: str, asked: Any) -> list[dict[str, Any]]:
        query = edge.QueryRequest(
            asked.limit,
            query=edge.Query.Nearest(asked.query),
            with_payload=asked.with_payload,
            filter=None if asked.filter is None else to_filter(asked.filter),
        )
        return [
            {
                "id": str(point.id),
                "version": point.version,
                "score": point.score,
                "payload": {key: value for key, value in point.payload.items() if key != BOOLEANS},
            }
            for point in self._shards[name][0].query(query)
        ]


# The engine tells True from 1, but its binding to Python makes a MatchValue(1) of MatchValue(True): booleans are kept as texts, too.
BOOLEANS = "booleans"


def booleans(value: Any) -> Any:
    """What of a payload is true or false, as texts."""
    if isinstance(value, dict):
        return {key: made for key, one in value.items() if (made := booleans(one)) is not None}
    if isinstance(value, list):
        return [made for one in value if (made := booleans(one)) is not None]
    return str(value) if isinstance(value, bool) else None


def to_filter(given: models.Filter) -> edge.Filter:
    """A filter of the HTTP API in the engine's form."""
    clauses = {
        name: [to_condition(one) for one in found] if isinstance(found, list) else [to_condition(found)]
        for name in ("must", "should", "must_not")
        if (found := getattr(given, name)) is not None
    }
    return edge.Filter(**clauses)


def to_condition(given: Any) -> Any:
    if isinstance(given, models.Filter):
        return to_filter(given)
    if given.match is not None and isinstance(given.match.value, bool):
        return edge.FieldCondition(f"{BOOLEANS}.{given.key}", match=edge.MatchValue(str(given.match.value)))
    if given.match is not None:
        return edge.FieldCondition(given.key, match=edge.MatchValue(given.match.value))
    bounds = {name: bound for name in ("gt", "gte", "lt", "lte") if (bound := getattr(given.range, name)) is not None}
    return edge.FieldCondition(given.key, range=edge.RangeFloat(**bounds))


@pytest.fixture(scope="class")
def over_the_engine(request, serve, tmp_path_factory):
    """A server over the engine, as an attribute of a test class."""
    engine = Engine(tmp_path_factory.mktemp("edge"))
    request.cls.server = serve(engine)
    yield
    engine.close()


@pytest.mark.usefixtures("over_the_engine")
class TestEngineOfServers(RetrieverContract):
    survives = True

    def spec(self) -> Spec:
        return dspex_qdrant.dspex_retrievers()[0]

    def at(self, folder):
        name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
        return {"api_base": self.server.url, "collection": f"kit {name}"}

    def broken(self, folder):
        return {"api_base": "http://127.0.0.1:1"}
