"""The kit for retrievers."""

from types import MappingProxyType

import dspex_vectors
from dspex.plugin import Spec
from dspex.testing import RetrieverContract


class TestVectors(RetrieverContract):
    saves = True

    def spec(self) -> Spec:
        return dspex_vectors.dspex_retrievers()[0]

    def at(self, folder):
        return {"collection": str(folder)}

    def broken(self, folder):
        (folder / "index").write_text("a file, no folder")
        return {"path": str(folder / "index")}


class TestGraph(TestVectors):
    """The same where a graph finds the candidates."""

    options = MappingProxyType({"approximate_from": 1})
