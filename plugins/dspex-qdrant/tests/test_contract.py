"""The kit for retrievers: over a folder, in memory, and over the HTTP API."""

import hashlib

import pytest

import dspex_qdrant
from dspex.plugin import Spec
from dspex.testing import RetrieverContract


class TestFolder(RetrieverContract):
    survives = True
    forks = False

    def spec(self) -> Spec:
        return dspex_qdrant.dspex_retrievers()[0]

    def at(self, folder):
        return {"path": str(folder / "index")}

    def broken(self, folder):
        (folder / "index").write_text("a file, no folder")
        return {"path": str(folder / "index")}


class TestMemory(TestFolder):
    survives = False
    forks = True

    def at(self, folder):
        return {"path": ":memory:", "collection": folder.name}


@pytest.mark.usefixtures("shared_server")
class TestServer(TestFolder):
    forks = True

    def at(self, folder):
        name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
        return {"api_base": self.server.url, "collection": f"kit {name}"}

    def broken(self, folder):
        return {"api_base": "http://127.0.0.1:1"}
