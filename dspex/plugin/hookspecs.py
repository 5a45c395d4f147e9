"""The hooks of dspex: a plugin implements some and declares itself under the entry-point group `dspex`.

    import dspex

    @dspex.hookimpl
    def dspex_lm_providers():
        return [dspex.Spec("acme", "dspex_acme.provider:AcmeProvider", "Models of Acme")]

All hooks are synchronous, are called once at discovery, each implementation by itself behind a fence, and only
*declare*: they open no connection, read no key and import nothing heavy. Each returns a list of `Spec` (commands: a list
of click commands). Two plugins that offer one name are an error when that name is used, with the way to choose.
"""

from typing import Any

import pluggy

from dspex.plugin.spec import GROUP, Spec

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def dspex_lm_providers() -> list[Spec]:
    """LM("NAME/model"): `factory(endpoint, http) -> LMProvider`."""
    return []


@hookspec
def dspex_embedders() -> list[Spec]:
    """Embedder("NAME/model"): `factory(endpoint, http) -> EmbeddingProvider`."""
    return []


@hookspec
def dspex_retrievers() -> list[Spec]:
    """Retriever("NAME", ...): `factory(options, http, embedder) -> RetrieverProvider`."""
    return []


@hookspec
def dspex_caches() -> list[Spec]:
    """configure(cache="NAME"): `factory(options, clock) -> CacheBackend`."""
    return []


@hookspec
def dspex_optimizers() -> list[Spec]:
    """dspex.NAME: the factory is the class, a subclass of `dspex.Optimizer`."""
    return []


@hookspec
def dspex_adapters() -> list[Spec]:
    """configure(adapter="NAME"): `factory(options) -> Adapter`."""
    return []


@hookspec
def dspex_executors() -> list[Spec]:
    """Evaluate(executor="NAME") and compile(executor="NAME"): `factory(options) -> Executor`."""
    return []


@hookspec
def dspex_sandboxes() -> list[Spec]:
    """ProgramOfThought(sandbox="NAME"): `factory(options) -> Sandbox`."""
    return []


@hookspec
def dspex_middleware() -> list[Spec]:
    """Wraps every LM and retriever call: `factory() -> Middleware`; ordered by `Spec.name`."""
    return []


@hookspec
def dspex_subscribers() -> list[Spec]:
    """Receives events: `factory() -> Subscriber`."""
    return []


@hookspec
def dspex_secret_sources() -> list[Spec]:
    """API keys from a vault: `factory() -> SecretSource`."""
    return []


@hookspec
def dspex_commands() -> list[Any]:
    """`dspex NAME ...`: click commands, not Specs."""
    return []
