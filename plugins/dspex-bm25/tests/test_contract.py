"""The kit for retrievers."""

import dspex_bm25
from dspex.plugin import Spec
from dspex.testing import RetrieverContract


class TestBM25(RetrieverContract):
    saves = True

    def spec(self) -> Spec:
        return dspex_bm25.dspex_retrievers()[0]

    def embedder(self):
        return None

    def at(self, folder):
        return {"collection": str(folder)}

    def broken(self, folder):
        (folder / "index").write_text("a file, no folder")
        return {"path": str(folder / "index")}
