"""Texts to words, and words to numbers."""

import re
from array import array
from collections.abc import Collection, Iterable

# Scripts without spaces between words: each letter is one.
ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
WORD = re.compile(rf"[{ALONE}]|[^\W{ALONE}]+")


def words(text: str, stopwords: Collection[str] = ()) -> list[str]:
    """The words of a text, in any case the same; those of `stopwords` are left out."""
    found = WORD.findall(text.casefold())
    return [word for word in found if word not in stopwords] if stopwords else found


class Vocabulary(dict[str, int]):
    """Words and their numbers, from zero on without a gap."""

    def numbers(self, some: Iterable[str]) -> "array[int]":
        """The numbers of words; new ones get the next."""
        return array("i", [self.setdefault(word, len(self)) for word in some])

    def known(self, some: Iterable[str]) -> list[int]:
        """The numbers of those words that have one."""
        return [number for word in some if (number := self.get(word)) is not None]
