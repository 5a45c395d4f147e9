"""explain: what a program is made of, as data and as a tree to read."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from dspex.app.app import current_app
from dspex.core.errors import DspexError
from dspex.program.written import render as written

_INSTRUCTIONS = 200


class Part(msgspec.Struct, frozen=True):
    """One module; what only a predictor has is None elsewhere.

    `prompt_characters` is its prompt before any input, `demo_characters` how much of that its demos are; both None where
    the adapter cannot say.
    """

    path: str
    kind: str
    depth: int = 0
    traits: Mapping[str, str] = {}
    signature: str | None = None
    instructions: str | None = None
    demos: int | None = None
    lm: str | None = None
    adapter: str | None = None
    prompt_characters: int | None = None
    demo_characters: int | None = None


class Explanation(msgspec.Struct, frozen=True):
    """The parts of a program, each before what it holds; the first is the program itself. Prints as a tree."""

    parts: tuple[Part, ...]

    def __str__(self) -> str:
        return "\n".join(line for part in self.parts for line in _lines(part))

    __repr__ = __str__


def explained(modules: Iterable[tuple[str, Any]]) -> Explanation:
    """The explanation of a program's modules, each with its path, under the settings in force."""
    found: list[Part] = []
    holders: list[str] = []
    for path, module in modules:
        while holders and not path.startswith((f"{holders[-1]}.", f"{holders[-1]}[")):
            holders.pop()
        depth = len(holders) + bool(found)
        found.append(_part(path, module, depth))
        if found[1:]:
            holders.append(path)
    return Explanation(tuple(found))


def _part(path: str, module: Any, depth: int) -> Part:
    traits = {name: _short(value) for name, value in module._traits().items()}
    kind = module._title or type(module).__name__
    if not module.is_parameter:
        return Part(path, kind, depth, traits)
    adapter, size, demos = _prompt(module)
    lm = module.lm or current_app().settings.lm
    source = "its own" if module.lm is not None else "the setting"
    return Part(
        path,
        kind,
        depth,
        {**traits, **{name: _short(value) for name, value in module.config.items()}},
        written(module.signature.compiled.fields.values()),
        module.signature.instructions,
        len(module.demos),
        None if lm is None else f"{lm.model} ({source})",
        adapter,
        size,
        demos,
    )


def _prompt(predictor: Any) -> tuple[str | None, int | None, int | None]:
    """The adapter's name and the characters of the prompt before any input: all of it, and its demos."""
    from dspex.program.adapters.chat import CHAT

    compiled = predictor.signature.compiled
    try:
        lm = predictor.lm or current_app().settings.lm
        adapter: Any = CHAT if lm is None else predictor.adapter_choice().adapter
        bare, whole = (_length(adapter.render(compiled, demos, {})) for demos in ((), predictor.demos))
    except (DspexError, ValueError, TypeError, KeyError, AttributeError):
        return None, None, None  # an adapter of the user's own may need inputs
    return getattr(adapter, "name", type(adapter).__name__), whole, whole - bare


def _length(messages: Any) -> int:
    return sum(len(message.text) for message in messages)


def _lines(part: Part) -> list[str]:
    indent = "  " * part.depth
    head = part.kind if part.depth == 0 and part.path == "self" else f"{part.path}: {part.kind}"
    traits = ", ".join(f"{name}={value}" for name, value in part.traits.items())
    lines = [f"{indent}{head}{f' ({traits})' if traits else ''}"]
    if part.signature is None:
        return lines
    inner = f"{indent}  "
    if part.prompt_characters is None:
        size = "prompt of unknown size"
    else:
        share = f", {part.demo_characters} of them demos" if part.demos else ""
        size = f"prompt of {part.prompt_characters} characters before inputs{share}"
    demos = f"{part.demos} demo{'' if part.demos == 1 else 's'}"
    return [
        *lines,
        f"{inner}{part.signature}",
        f"{inner}{_short(part.instructions)}",
        f"{inner}LM {part.lm or 'not set'}; adapter {part.adapter or 'unknown'}; {demos}; {size}",
    ]


def _short(value: Any) -> str:
    text = " ".join(_text(value).split())
    return text if len(text) <= _INSTRUCTIONS else f"{text[: _INSTRUCTIONS - 3]}..."


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_text(one)}" for name, one in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_text, value))}]"
    name = getattr(value, "__name__", None)
    return name if isinstance(name, str) else repr(value)
