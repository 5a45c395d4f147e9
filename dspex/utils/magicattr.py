"""DSPy's way to parts by their path, as `named_sub_modules` writes it: `steps[0].inner['key'].demos`. Nothing is evaluated."""

import ast
from typing import Any

__all__ = ["delete", "get", "set"]

_ABSENT = object()


def get(obj: Any, path: str, default: Any = _ABSENT) -> Any:
    """What stands at the path, or `default` where there is none. Raises as the steps themselves do, and as `set` for no path."""
    for is_attribute, name in _steps(path):
        try:
            obj = getattr(obj, name) if is_attribute else obj[name]
        except (AttributeError, LookupError, TypeError):
            if default is _ABSENT:
                raise
            return default
    return obj


def set(obj: Any, path: str, value: Any) -> None:  # noqa: A001  DSPy's name
    """Put a value there. Raises SyntaxError, ValueError or NotImplementedError for what is no path."""
    owner, is_attribute, name = _place(obj, path)
    if is_attribute:
        setattr(owner, name, value)
    else:
        owner[name] = value


def delete(obj: Any, path: str) -> None:
    """Take away what stands there. Raises as `set`."""
    owner, is_attribute, name = _place(obj, path)
    if is_attribute:
        delattr(owner, name)
    else:
        del owner[name]


def _place(obj: Any, path: str) -> tuple[Any, bool, Any]:
    *steps, (is_attribute, name) = _steps(path)
    for step_is_attribute, step in steps:
        obj = getattr(obj, step) if step_is_attribute else obj[step]
    return obj, is_attribute, name


def _steps(path: str) -> list[tuple[bool, Any]]:
    if not isinstance(path, str):
        raise TypeError(f"A path is a text, not a {type(path).__name__}.")
    body = ast.parse(path.strip()).body
    node: Any = body[0].value if len(body) == 1 and isinstance(body[0], ast.Expr) else None
    steps: list[tuple[bool, Any]] = []
    while isinstance(node, ast.Attribute | ast.Subscript):
        steps.append((True, node.attr) if isinstance(node, ast.Attribute) else (False, _key(node.slice, path)))
        node = node.value
    root = node.id if isinstance(node, ast.Name) else None
    if root is None:
        raise ValueError(f"{path!r} is no path of attributes and items.")
    return [(True, root), *reversed(steps)]


def _key(node: ast.expr, path: str) -> Any:
    try:
        return ast.literal_eval(node)
    except ValueError:
        raise NotImplementedError(f"In {path!r} stands an item that is no plain value.") from None
