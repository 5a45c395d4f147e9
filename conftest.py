"""Python blocks of Markdown pages are tests wherever sybil is installed: `nox -s docs`.

`<!--- skip: next -->` before a block leaves it out; say why on the same line.
"""

try:
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser
except ImportError:
    pass  # every other session runs without
else:
    pytest_collect_file = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["*.md"]).pytest()
