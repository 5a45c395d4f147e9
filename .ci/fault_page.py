"""Write docs/faults.md: the rows of tests/faults/rows.toml, and beside each the tests that carry its mark.

    python .ci/fault_page.py [--check] [ROOT]

`--check` writes nothing and fails if the page is not what the tests say. Either way fails for a row that no test shows
and no note excuses, and for a mark of no row. Tests are read, not run.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PAGE, ROWS = "docs/faults.md", "tests/faults/rows.toml"
TESTS = ("tests/**/test_*.py", "plugins/*/tests/**/test_*.py", "examples/test_*.py")
HEAD = """\
# Faults: what may go wrong, what dspex does then, and the test that shows it

Made by `.ci/fault_page.py` from the marks of the tests, not by hand. Each row is a promise that the tests beside it hold; they
carry its id, as in `@pytest.mark.fault("N07")`. "Tried again" is at most 4 attempts, within the call's deadline and its
endpoint's budget of retries. The faults that `dspex.testing.FAULTS` names are, beside these, all sent to the kernel's HTTP client
(`tests/faults/test_every_fault.py`), and by the kit for providers to each plugin that calls models over HTTP
(`tests/test_contract.py`); to send them to a plugin of yours, see [testing](testing.md).
"""


def marked(root: Path) -> dict[str, list[str]]:
    """The tests of each id, in order of their files. Raises ValueError for a mark that cannot be read."""
    found: dict[str, list[str]] = {}
    for file in (file for pattern in TESTS for file in sorted(root.glob(pattern))):
        place, text = file.relative_to(root).as_posix(), file.read_text("utf-8")
        if not re.search(r"\bfault\b", text):
            continue
        tree = ast.parse(text)
        tests = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
        seen = 0
        for test in tests:
            for fault in (one for decorator in test.decorator_list for one in _ids(decorator, place)):
                words = test.name.removeprefix("test_").replace("_", " ")
                found.setdefault(fault, []).append(f"{words} (`{place}`)")
                seen += 1
        if seen != len(list(_ids(tree, place))):
            raise ValueError(f"{place} has a mark of a fault that is not in a test's decorators, so nobody finds it.")
    return found


def _ids(tree: ast.AST, place: str) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Call(
                func=ast.Attribute(attr="fault", value=ast.Attribute(attr="mark")), args=[ast.Constant(value)]
            ):
                yield str(value)
            case ast.Call(func=ast.Attribute(attr="fault", value=ast.Attribute(attr="mark"))):
                raise ValueError(f"{place}:{node.lineno}: write a fault's id as a text, so that it can be read here.")


def wrong(rows: dict[str, Any], tests: dict[str, list[str]]) -> list[str]:
    """What keeps the page from being whole."""
    known = {fault for name, section in rows.items() if name != "elsewhere" for fault in section} - {"title"}
    elsewhere = set(rows["elsewhere"])
    return [
        *(f"{fault} has no test that carries its mark." for fault in sorted(known - set(tests) - elsewhere)),
        *(f"{fault} is a mark of no row ({tests[fault][0]})." for fault in sorted(set(tests) - known)),
        *(f"{fault} is noted under [elsewhere] and is no row." for fault in sorted(elsewhere - known)),
    ]


def page(rows: dict[str, Any], tests: dict[str, list[str]]) -> str:
    """The page's text."""
    parts = [HEAD]
    for name, section in rows.items():
        if name == "elsewhere":
            continue
        parts.append(
            f"\n## {section['title']}\n\n| id | what goes wrong | what dspex does | shown by |\n|---|---|---|---|\n"
        )
        for fault, (what, does) in ((fault, row) for fault, row in section.items() if fault != "title"):
            shown = [*tests.get(fault, ()), *filter(None, [rows["elsewhere"].get(fault)])]
            parts.append(f"| {fault} | {what} | {does} | {'<br>'.join(dict.fromkeys(shown))} |\n")
    return "".join(parts)


def main(arguments: list[str]) -> int:
    """The exit status."""
    places = [argument for argument in arguments if argument != "--check"]
    root = Path(places[0]) if places else Path(__file__).parents[1]
    rows = tomllib.loads((root / ROWS).read_text("utf-8"))
    try:
        tests = marked(root)
    except ValueError as error:
        print(error)
        return 1
    faults = wrong(rows, tests)
    text, file = page(rows, tests), root / PAGE
    if "--check" not in arguments:
        file.write_text(text, "utf-8")
    elif not file.exists() or file.read_text("utf-8") != text:
        faults.append(f"{PAGE} is not what the tests say: run `python .ci/fault_page.py`.")
    print("\n".join(faults) or f"{sum(map(len, tests.values()))} marks on {len(tests)} rows.")
    return min(1, len(faults))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
