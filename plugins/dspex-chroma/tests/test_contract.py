"""The kit for retrievers, over a real server."""

import hashlib

import pytest

import dspex_chroma
from dspex.plugin import Spec
from dspex.testing import RetrieverContract


@pytest.mark.usefixtures("shared_server")
class TestChroma(RetrieverContract):
    survives = True

    def spec(self) -> Spec:
        return dspex_chroma.dspex_retrievers()[0]

    def at(self, folder):
        name = hashlib.blake2b(str(folder).encode(), digest_size=8).hexdigest()
        return {"api_base": self.server.url, "collection": f"kit-{name}"}

    def broken(self, folder):
        return {"api_base": "http://127.0.0.1:1"}
