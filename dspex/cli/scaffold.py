"""`dspex plugin new`: a package for a plugin, which passes its own tests as it is."""

import keyword
import re
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from string import Template
from types import MappingProxyType

import click
import msgspec

from dspex.core.errors import ConfigurationError
from dspex.core.versions import kernel_version
from dspex.plugin.catalog import PACKAGES
from dspex.plugin.spec import API_VERSION

PREFIX = "dspex-"


class Kind(msgspec.Struct, frozen=True):
    """What is special to one kind; in `called` and `summary` stands `{spec}` for the backend's name, `factory` ends its class's."""

    hook: str
    module: str
    factory: str
    called: str
    summary: str
    needs: tuple[str, ...] = ()
    is_class: bool = False  # what users write is the name of a class


KINDS = MappingProxyType(
    {
        "provider": Kind(
            "lm_providers", "provider", "Provider", 'LM("{spec}/MODEL")', "Models of {spec}", ("msgspec>=0.21",)
        ),
        "embedder": Kind("embedders", "embedder", "Embedder", 'Embedder("{spec}/any")', "Embeddings of {spec}"),
        "retriever": Kind(
            "retrievers", "retriever", "Retriever", 'Retriever("{spec}")', "Search in {spec}", ("msgspec>=0.21",)
        ),
        "cache": Kind("caches", "cache", "Cache", 'configure(cache="{spec}")', "Replies kept in {spec}"),
        "optimizer": Kind("optimizers", "optimizer", "", "dspex.{spec}(metric)", "Optimizer {spec}", is_class=True),
        "adapter": Kind("adapters", "adapter", "Adapter", 'configure(adapter="{spec}")', "Prompts in {spec} form"),
        "sandbox": Kind(
            "sandboxes",
            "sandbox",
            "Sandbox",
            'configure(sandbox="{spec}")',
            "Code kept in by {spec}",
            ("msgspec>=0.21",),
        ),
        "executor": Kind(
            "executors",
            "executor",
            "Executor",
            'Evaluate(executor="{spec}")',
            "Programs run by {spec}",
            ("msgspec>=0.21",),
        ),
        "middleware": Kind("middleware", "middleware", "Middleware", "Around every call", "Slow calls told by {spec}"),
        "subscriber": Kind(
            "subscribers",
            "subscriber",
            "Subscriber",
            "Hears every event",
            "Events written by {spec}",
            ("msgspec>=0.21",),
        ),
        "secret-source": Kind("secret_sources", "secrets", "Source", "Asked for API keys", "API keys from {spec}"),
        "command": Kind("commands", "command", "", "`dspex {spec}`", "The command {spec}", ("click>=8.1.8",)),
    }
)


@click.group()
def plugin() -> None:
    """Write a plugin of your own."""


@plugin.command()
@click.argument("name")
@click.option("--kind", type=click.Choice([*KINDS]), required=True, help="What it adds to dspex.")
@click.option(
    "--into",
    default=".",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where its folder is made; here, if nothing is said.",
)
def new(name: str, kind: str, into: Path) -> None:
    """Write the package dspex-NAME, whose tests pass as they are."""
    folder = write(name, kind, into)
    taken = PACKAGES.get((KINDS[kind].hook, words(name, kind)["spec"]))
    click.echo(f"{folder} is made. To see it work:\n")
    click.echo(
        f'    cd {folder}\n    pip install -e ".[test]"\n    pytest\n    dspex plugins check {words(name, kind)["name"]}'
    )
    if taken:
        click.echo(f"\nThe name is that of {taken}: where both are installed, a user has to choose one by `prefer`.")


def write(name: str, kind: str, into: Path) -> Path:
    """Make the package; its folder. Raises ConfigurationError for a name that cannot be one, or is there."""
    filled = words(name, kind)
    folder = into / filled["distribution"]
    if folder.exists():
        raise ConfigurationError(f"{folder} is there already: take another name, or move it away.")
    for template, path in places(kind, filled):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text("utf-8")).substitute(filled), encoding="utf-8")
    (folder / "src" / filled["package"] / "py.typed").touch()
    return folder


def words(name: str, kind: str) -> dict[str, str]:
    """What stands for the placeholders of the templates. Raises ConfigurationError."""
    short = name.removeprefix(PREFIX)
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", short):
        raise ConfigurationError(
            f"{name!r} is no name for a plugin: small letters and digits, begun by a letter, joined by single dashes, as `acme-two`."
        )
    of, joined = KINDS[kind], short.replace("-", "_")
    class_name = "".join(part.capitalize() for part in short.split("-"))
    filled = {
        "name": short,
        "NAME": joined.upper(),
        "Class": class_name,
        "command": f"{joined}_" if keyword.iskeyword(joined) else joined,
        "distribution": f"{PREFIX}{short}",
        "package": f"dspex_{joined}",
        "spec": class_name if of.is_class else short,
        "module": of.module,
        "Factory": f"{class_name.removesuffix(of.factory)}{of.factory}",
        "hook": f"dspex_{of.hook}",
        "declares": f"a plugin for dspex: {kind}",
        "dspex": ".".join(kernel_version().split(".")[:2]),
        "api": str(API_VERSION),
        "needs": "".join(f', "{one}"' for one in of.needs),
    }
    filled |= {text: getattr(of, text).format(spec=filled["spec"]) for text in ("called", "summary")}
    usage = Template((templates() / kind / "usage.md.txt").read_text("utf-8")).substitute(filled)
    return {**filled, "usage": usage}


def places(kind: str, filled: dict[str, str]) -> list[tuple[Traversable, str]]:
    """Each template, and what it becomes; one of the kind's own goes before the common one."""
    source = f"src/{filled['package']}"
    names = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        "CHANGELOG.md": "CHANGELOG.md",
        "gitignore": ".gitignore",
        "noxfile.py": "noxfile.py",
        "init.py": f"{source}/__init__.py",
        "backend.py": f"{source}/{filled['module']}.py",
        "inside.py": f"{source}/inside.py",
        "test_smoke.py": "tests/test_smoke.py",
        "test_readme.py": "tests/test_readme.py",
        "test_contract.py": "tests/test_contract.py",
    }
    found = [
        (
            next(
                (one for one in (templates() / where / f"{name}.txt" for where in (kind, "common")) if one.is_file()),
                None,
            ),
            path,
        )
        for name, path in names.items()
    ]
    return [(template, path) for template, path in found if template is not None]


def templates() -> Traversable:
    """Where the templates lie."""
    return files("dspex.cli") / "templates"
