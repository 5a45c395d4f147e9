"""Texts in a form in which they can be compared."""

import re
import string
import unicodedata
from typing import Any

# Patterns are compiled when they are first needed, by `re`: few programs need them.
_ARTICLES = r"\b(a|an|the)\b"
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Punctuation inside a number, and its sign or point in front, would vanish from the normal form: 1.5 became 15, -5 became 5.
_NUMERIC = r"(?<=\d)[!-/:-@\[-`{-~](?=\d)|(?<!\w)[-.](?=[$€£]?\.?\d)"
_THOUSANDS = r"(?<=\d),(?=\d{3}(?!\d))"


def normalize_text(text: str) -> str:
    """DSPy's normal form: NFD, lower case, no ASCII punctuation, no a, an, the, single blanks."""
    plain = unicodedata.normalize("NFD", text).lower().translate(_NO_PUNCTUATION)
    return " ".join(re.sub(_ARTICLES, " ", plain).split())


def comparable(text: Any) -> str:
    """The normal form with numbers kept apart; empty for texts that only themselves can tell, as "A" and "the"."""
    kept = re.sub(_NUMERIC, lambda found: chr(ord(found[0]) + 0xFEE0), re.sub(_THOUSANDS, "", str(text)))
    return normalize_text(kept)
