"""A text that comes in pieces, kept in few objects however small they are."""

MANY = 1_024


class Gathered:
    """Pieces in order; each thousand of them is joined, so that a text of single letters takes no more than its length."""

    __slots__ = ("_joined", "add", "pieces")

    def __init__(self) -> None:
        self._joined: list[str] = []
        self.pieces: list[str] = []  # those that are not joined yet
        self.add = self.pieces.append

    def __bool__(self) -> bool:
        return bool(self.pieces or self._joined)

    def draw(self) -> None:
        """Join what has come; whoever adds does so when there are MANY pieces."""
        self._joined.append("".join(self.pieces))
        self.pieces.clear()

    @property
    def text(self) -> str:
        """All of it."""
        return "".join((*self._joined, *self.pieces))
