"""`dspex plugins check`: whether an installed plugin keeps to what dspex asks of it, and what to do where it does not."""

import importlib.metadata
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from types import MappingProxyType
from typing import Any

import click
import msgspec

from dspex.app.app import current_app
from dspex.cli.own import offered, own_names
from dspex.core.errors import ConfigurationError
from dspex.core.nearest import did_you_mean
from dspex.plugin.catalog import KIND_WORDS
from dspex.plugin.fence import LOADING, fenced
from dspex.plugin.loading import PluginRecord
from dspex.plugin.manager import BACKEND_LIMIT_S, PluginManager
from dspex.plugin.spec import API_VERSION, Spec

FINE, BROKEN, ADVICE = "", "PROBLEM: ", "advice: "
SLOW_S = 0.1
KIT_LIMIT_S = 15.0  # for one test of a kit

Finding = tuple[str, str, str]  # title, mark, text


class Contract(msgspec.Struct, frozen=True):
    """How the factory of a kind is called, what its object has (async methods first, then plain ones), and the kit."""

    arguments: tuple[str, ...] | None
    has_async: tuple[str, ...]
    has: tuple[str, ...]
    kit: str


CONTRACTS = MappingProxyType(
    {
        "lm_providers": Contract(("endpoint", "http"), ("complete",), (), "LMProviderContract"),
        "embedders": Contract(("endpoint", "http"), ("embed",), (), "EmbeddingContract"),
        "retrievers": Contract(("options", "http", "embedder"), ("retrieve",), (), "RetrieverContract"),
        "caches": Contract(
            ("options", "clock"), ("get", "set", "delete", "clear", "stats", "aclose"), (), "CacheContract"
        ),
        "optimizers": Contract(None, ("run",), ("estimate", "compile"), "OptimizerContract"),
        "adapters": Contract(("options",), (), ("format", "render", "parse"), "AdapterContract"),
        "executors": Contract(("options",), (), ("run",), "ExecutorContract"),
        "sandboxes": Contract(("options",), ("run",), (), "SandboxContract"),
        "middleware": Contract((), ("__call__",), (), "MiddlewareContract"),
        "subscribers": Contract((), (), ("on_event",), "SubscriberContract"),
        "secret_sources": Contract((), ("get",), (), "SecretSourceContract"),
        "commands": Contract((), (), (), "CommandContract"),
    }
)


@click.command()
@click.argument("package")
@click.pass_context
def check(ctx: click.Context, package: str) -> None:
    """Look closely at an installed plugin.

    PACKAGE is the name of its entry point or of its package. Exit code 1 if it breaks a rule.

    Where that needs no network and no data of its own, the contract kit of dspex.testing is run.
    """
    manager = current_app().plugins
    problems = 0
    for record in named(manager, package):
        for title, mark, text in findings(manager, record):
            click.echo(f"{title:<10}{mark}{text}")
            problems += mark == BROKEN
    click.echo(f"Problems: {problems}" if problems else "It keeps to what can be seen from outside.")
    ctx.exit(1 if problems else 0)


def named(manager: PluginManager, package: str) -> list[PluginRecord]:
    """The plugins of an entry point's name, or of a distribution. Raises ConfigurationError for none."""
    found = [one for one in manager.plugins if package == one.name or plain(package) == plain(one.distribution)]
    if found:
        return found
    if _is_installed(package):
        raise ConfigurationError(
            f"{package!r} is installed, and has no entry point in the group `dspex`: it is no plugin, and is used by importing it."
        )
    known = sorted({name for one in manager.plugins for name in (one.name, one.distribution)})
    raise ConfigurationError(
        f"No plugin {package!r} is installed here.{did_you_mean(package, known)} Install it first, `pip install -e .` in its "
        f"folder, with an entry point in the group `dspex`. Installed: {', '.join(known) or 'none'}."
    )


def _is_installed(distribution: str) -> bool:
    try:
        return bool(importlib.metadata.distribution(distribution))
    except (importlib.metadata.PackageNotFoundError, ValueError):
        return False


def plain(name: str) -> str:
    """A distribution's name as an index compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def findings(manager: PluginManager, record: PluginRecord) -> Iterator[Finding]:
    """All that is to be said of one plugin."""
    yield "plugin", FINE, f"{record.name}, of {record.distribution or 'an unknown package'} {record.version}"
    if record.status != "ok":
        yield "loads", BROKEN, record.error or "it is blocked by DSPEX_PLUGINS or -p: let it load to be checked"
        return
    yield "loads", FINE, f"in {record.seconds * 1000:.0f} ms"
    if record.seconds > SLOW_S:
        yield "", ADVICE, "that is slow: name factories as 'package.module:attribute', and import what is heavy there"
    if not record.provides:
        yield "declares", BROKEN, "nothing: implement one of the hooks of dspex.plugin.hookspecs with @dspex.hookimpl"
    for kind, specs in record.provides.items():
        names = offered(manager, record, kind)
        yield "declares", FINE, f"{KIND_WORDS[kind]} {', '.join(names) or '(none)'}, for API {API_VERSION}"
        yield from _taken(manager, record, kind, names)
        for spec in specs if kind != "commands" else ():
            yield from ((f"{spec.name}"[:9], mark, text) for mark, text in _factory(kind, spec))
        yield from _kit(manager, record, kind, specs)
    yield from (("package", mark, text) for mark, text in _metadata(record.distribution))


def _taken(manager: PluginManager, record: PluginRecord, kind: str, names: Sequence[str]) -> Iterator[Finding]:
    taken = own_names(manager, record, kind)
    yield from (("", BROKEN, f"{name!r} is dspex's own, which wins: take another name") for name in taken)
    broken = manager.commands()[1].get(record.name) if kind == "commands" else None
    if broken:
        yield "", BROKEN, broken
    others = [one for one in manager.plugins if one is not record and kind != "commands"]
    for one in others:
        same = sorted({spec.name for spec in one.provides.get(kind, ())} & set(names))
        if same:
            yield (
                "",
                ADVICE,
                f"{', '.join(same)}: offered by {one.name!r} ({one.distribution}) too; users choose by `prefer`",
            )


def _factory(kind: str, spec: Spec) -> Iterator[tuple[str, str]]:
    made: list[Callable[..., Any]] = []
    error = fenced(lambda: made.append(spec.load()), BACKEND_LIMIT_S)
    if error:
        yield BROKEN, error
        return
    factory, contract = made[0], CONTRACTS[kind]
    if not isinstance(spec.factory, str):
        yield ADVICE, "its factory is an object, and so is imported with the plugin: name it 'package.module:attribute'"
    if fault := _call_fault(factory, contract):
        yield BROKEN, fault
    if kind == "optimizers":
        from dspex.engine.optimizer import Optimizer

        if not (isinstance(factory, type) and issubclass(factory, Optimizer)):
            yield BROKEN, f"{factory!r} is no subclass of dspex.Optimizer"
            return
    if isinstance(factory, type):
        yield from ((BROKEN, text) for text in _lacking(factory, contract))


def _call_fault(factory: Callable[..., Any], contract: Contract) -> str:
    if contract.arguments is None:
        return ""
    if inspect.iscoroutinefunction(factory):
        return (
            "its factory is async: it is called without await; what must be awaited goes into `async def start(self)`"
        )
    try:
        inspect.signature(factory).bind(*contract.arguments)
    except TypeError as error:
        return f"its factory is called as factory({', '.join(contract.arguments)}), and takes that not: {error}"
    except ValueError:  # one in C, without a signature
        return ""
    return ""


def _lacking(made: type, contract: Contract) -> Iterator[str]:
    for name in contract.has_async:
        method = getattr(made, name, None)
        if method is None:
            yield f"{made.__name__} has no `async def {name}`"
        elif inspect.isfunction(method) and not inspect.iscoroutinefunction(method):
            yield f"{made.__name__}.{name} is awaited: make it `async def {name}`"
    for name in contract.has:
        if not callable(getattr(made, name, None)):
            yield f"{made.__name__} has no `{name}`"


def _kit(manager: PluginManager, record: PluginRecord, kind: str, specs: Sequence[Any]) -> Iterator[Finding]:
    name = CONTRACTS[kind].kit
    parts = [part for part in (_parts(kind, one, manager, record) for one in specs) if part is not None]
    if not parts:
        yield "kit", ADVICE, f"not run, as it needs data of yours: subclass dspex.testing.{name} in the package's tests"
    for part in parts:
        import dspex.testing

        failed, count = run(getattr(dspex.testing, name), part)
        yield "kit", FINE, f"{name}: {count - len(failed)} of {count} tests hold"
        yield from (("", BROKEN, text) for text in failed)


def _parts(kind: str, one: Any, manager: PluginManager, record: PluginRecord) -> dict[str, Any] | None:
    """What a kit is given to run by itself; None where only the package's own tests can."""
    if kind in ("middleware", "subscribers"):
        return {"make": lambda _kit: one.load()()}
    if kind == "commands":
        found = [offers for offers in manager.commands()[0].values() if any(owner is record for owner, _ in offers)]
        commands = [command for offers in found for owner, command in offers if owner is record]
        return {"commands": lambda _kit: commands, "module": getattr(one, "__module__", "")} if commands else None
    if kind == "adapters" and hasattr(one.load(), "format_assistant_message_content"):
        return {"make": lambda _kit: one.load()({})}
    return None


def run(kit: type, parts: dict[str, Any]) -> tuple[list[str], int]:
    """What of a kit does not hold, in words, and how many tests it has."""
    checked = type("Checked", (kit,), parts)
    tests = sorted(name for name in dir(kit) if name.startswith("test_"))
    failed = [
        f"{name.removeprefix('test_').replace('_', ' ')}: {told}" for name in tests if (told := _failure(checked, name))
    ]
    return failed, len(tests)


def _failure(kit: type, name: str) -> str:
    """Why a test fails; one that does not end is given up, as the plugin's code runs in it."""

    def tested() -> None:
        LOADING.set(False)  # it has Apps of its own, with plugins
        getattr(kit(), name)()

    return fenced(tested, KIT_LIMIT_S).removeprefix("AssertionError: ").replace("did not load within", "did not end in")


def _metadata(distribution: str) -> Iterator[tuple[str, str]]:
    try:
        found = importlib.metadata.distribution(distribution)
    except (importlib.metadata.PackageNotFoundError, ValueError):
        yield ADVICE, "its metadata is not there: install it by pip"
        return
    wanted = [line for line in found.requires or () if re.match(r"dspex\b(?!-)", line)]
    if not any(">=" in line for line in wanted):
        yield BROKEN, f'it does not say which dspex it needs: dependencies = ["dspex>={_release()}"]'
    elif any(re.search("<|==|~=", line.partition(";")[0]) for line in wanted):
        yield (
            ADVICE,
            "it has an upper bound for dspex, and so keeps its users from updates: the API number guards against what it can't do",
        )
    if found.files is not None and not any(file.name == "py.typed" for file in found.files) and not _is_editable(found):
        yield ADVICE, "it has no py.typed, so type checkers do not see its types"
    if not ("Description" in found.metadata or found.metadata.get_payload()):  # type: ignore[attr-defined]  # an email.Message
        yield ADVICE, 'it has no readme in its metadata: readme = "README.md"'


def _is_editable(found: importlib.metadata.Distribution) -> bool:
    told = msgspec.json.decode(found.read_text("direct_url.json") or "{}")
    return bool(told.get("dir_info", {}).get("editable"))


def _release() -> str:
    return ".".join(importlib.metadata.version("dspex").split(".")[:2])
