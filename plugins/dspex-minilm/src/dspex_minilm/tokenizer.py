"""Texts to word pieces, as BERT's uncased English model was trained on (WordPiece: Wu et al. 2016, section 4.1)."""

import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

VOCABULARY = Path(__file__).parent / "vocabulary.txt"
CONTINUED = "##"
LONGEST_WORD = 100  # letters; a longer word is unknown
KEPT_WORDS = 1 << 16
# Blocks of ideographs, each of which is a word.
IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
# Punctuation in ASCII, of which Unicode takes some for symbols.
ASCII_SIGNS = ((33, 47), (58, 64), (91, 96), (123, 126))


class Letters(dict[int, str | None]):
    """What becomes of each letter: kept, dropped, or a word by itself; looked up once."""

    def __missing__(self, code: int) -> str | None:
        self[code] = made = _made_of(code)
        return made


class Tokenizer:
    """Word pieces of texts, as numbers; it is used from several threads at once."""

    def __init__(self, vocabulary: Path = VOCABULARY) -> None:
        pieces = vocabulary.read_text(encoding="utf-8").split("\n")
        self._numbers: Mapping[str, int] = {piece: number for number, piece in enumerate(pieces) if piece}
        self.first, self.last, self._unknown = (self._numbers[name] for name in ("[CLS]", "[SEP]", "[UNK]"))
        self._letters = Letters()
        self._pieces = lru_cache(KEPT_WORDS)(self._split)

    def encode(self, text: str, most: int) -> list[int]:
        """The numbers of a text's pieces between the two that frame it, at most `most` in all."""
        numbers = [self.first]
        for word in self.words(text):
            numbers += self._pieces(word)
            if len(numbers) >= most:
                break
        return [*numbers[: most - 1], self.last]

    def words(self, text: str) -> list[str]:
        """The words and signs of a text, in lower case and without accents."""
        return unicodedata.normalize("NFD", text).translate(self._letters).split()

    def _split(self, word: str) -> tuple[int, ...]:
        if len(word) > LONGEST_WORD:
            return (self._unknown,)
        numbers: list[int] = []
        start = 0
        while start < len(word):
            prefix = CONTINUED if start else ""
            ends = range(len(word), start, -1)
            found = next((end for end in ends if prefix + word[start:end] in self._numbers), None)
            if found is None:
                return (self._unknown,)
            numbers.append(self._numbers[prefix + word[start:found]])
            start = found
        return tuple(numbers)


def _made_of(code: int) -> str | None:
    letter = chr(code)
    kind = unicodedata.category(letter)
    if letter in "\t\n\r" or kind == "Zs":
        return " "
    if code in {0, 0xFFFD} or kind[0] == "C" or kind == "Mn":
        return None
    signs = kind[0] == "P" or any(low <= code <= high for low, high in ASCII_SIGNS)
    if signs or any(low <= code <= high for low, high in IDEOGRAPHS):
        return f" {letter} "
    return letter.lower()  # by itself: the original knows no final sigma
