"""Pieces of the pages that dspex writes: no script, no asset from elsewhere, pictures as inline SVG.

All that programs, examples and metrics wrote goes through `html.escape`; a page's own policy forbids to load or to run
anything, should that ever fail.
"""

from collections.abc import Iterable
from html import escape

LONGEST = 4_000
WIDTH, MARGIN = 640, 40
STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1c1c1c;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse}th,td{padding:.2rem .8rem .2rem 0;
text-align:left;vertical-align:top}pre{white-space:pre-wrap;overflow-wrap:anywhere;margin:0;font:inherit}svg{max-width:100%}
details{border-top:1px solid #ddd;padding:.4rem 0}summary{cursor:pointer}.better{color:#14713d}.worse{color:#a61b1b}
""".replace("\n", "")
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
GOOD, BAD, PLAIN = "#14713d", "#a61b1b", "#555"


def document(title: str, parts: Iterable[str]) -> str:
    """A whole page; `parts` are HTML."""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            *parts,
            "</body></html>\n",
        ]
    )


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Names and texts."""
    cells = (f"<tr><th>{escape(name)}</th><td><pre>{escape(cut(text))}</pre></td></tr>" for name, text in rows)
    return f"<table>{''.join(cells)}</table>"


def cut(text: str) -> str:
    """The beginning of a long text, and how long it is."""
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def picture(height: int, title: str, marks: str) -> str:
    """An SVG of `WIDTH` by `height`; its title is what it says, for those who do not see it."""
    return (
        f'<svg role="img" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}">'
        f"<title>{escape(title)}</title>{marks}</svg>"
    )


def line(
    x1: float, y1: float, x2: float, y2: float, colour: str, *, width: int = 1, dashed: bool = False
) -> str:  # fmt: skip
    """A straight line."""
    dashes = ' stroke-dasharray="4 3"' if dashed else ""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" stroke-width="{width}"{dashes}/>'


def label(x: float, y: float, text: str, anchor: str = "middle") -> str:
    """A text in a picture."""
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" text-anchor="{anchor}" fill="#333">{escape(text)}</text>'
