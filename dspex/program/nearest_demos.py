"""NearestDemos: for each call, the demos whose inputs are most like the call's."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Self

from dspex.app.embedder import Embedder
from dspex.core.errors import ConfigurationError, ProgramFileError
from dspex.core.example import Example
from dspex.core.identity import plain
from dspex.program.fingerprint import fingerprint
from dspex.program.knn import KNN
from dspex.program.vectorizer import CharacterVectorizer, WordVectorizer

_OWN: Mapping[str, Any] = MappingProxyType({"characters": CharacterVectorizer, "words": WordVectorizer})
Group = dict[bool, Any]  # the demos of one text of inputs: made by a run (True), labelled (False)


class Prepared:
    """Demos as they are looked for: those of equal inputs together, and an index of the inputs."""

    def __init__(self, demos: Sequence[Any], names: tuple[str, ...], k: int, vectorizer: Any) -> None:
        self.groups: list[Group] = []
        self._of = (demos, len(demos), names)
        found: dict[str, int] = {}
        texts = []
        for demo in demos:
            fields = {name: plain(demo[name]) for name in names if name in demo}
            if not fields:  # without any input of this predictor it is near to nothing
                continue
            place = found.setdefault(repr(fields), len(self.groups))
            if place == len(self.groups):
                self.groups.append({})
                texts.append(Example(fields, place=place).with_inputs(*fields))
            self.groups[place].setdefault(bool(demo.get("augmented")), demo)
        self.index = KNN(k, texts, vectorizer) if texts else None

    def is_of(self, demos: Sequence[Any], names: tuple[str, ...]) -> bool:
        """Whether it was made of these."""
        known, count, inputs = self._of
        return known is demos and count == len(demos) and inputs == names


class NearestDemos:
    """A `demo_selector`: of a predictor's demos the `k` whose inputs are nearest, the nearest last.

    A demo with the same inputs as the call is left out. `vectorizer` is an Embedder or any function of a list of texts; None
    counts characters, with no model. Of the `k`, at most `max_bootstrapped_demos` are runs of a program, and together with
    labelled ones they are at most `max_labeled_demos`, unless these are None. The demos' vectors are made at the first call.
    """

    def __init__(
        self,
        k: int,
        vectorizer: Callable[[list[str]], Any] | None = None,
        max_bootstrapped_demos: int | None = None,
        max_labeled_demos: int | None = None,
    ) -> None:
        if k < 1:
            raise ConfigurationError(f"NearestDemos(k={k}): at least one demo.")
        self.k = k
        self.vectorizer = vectorizer or CharacterVectorizer(512, 3)
        self.max_bootstrapped_demos = k if max_bootstrapped_demos is None else max_bootstrapped_demos
        self.max_labeled_demos = k if max_labeled_demos is None else max_labeled_demos
        self._prepared: Prepared | None = None

    async def __call__(self, inputs: Mapping[str, Any], demos: Sequence[Any]) -> list[Any]:
        """The demos for a call with these inputs."""
        names, prepared = tuple(inputs), self._prepared
        if prepared is None or not prepared.is_of(demos, names):
            prepared = self._prepared = Prepared(demos, names, self.k + 1, self.vectorizer)
        if prepared.index is None:
            return []
        asked = {name: plain(value) for name, value in inputs.items()}
        nearest = await prepared.index.acall(**asked)
        groups = [prepared.groups[one["place"]] for one in nearest if dict(one.inputs()) != asked]
        return self._chosen(groups[: self.k])

    def _chosen(self, groups: Iterable[Group]) -> list[Any]:
        chosen: list[Any] = []
        runs = 0
        for group in groups:
            is_run = True in group and runs < self.max_bootstrapped_demos
            if is_run or (False in group and len(chosen) < self.max_labeled_demos):
                runs += is_run
                chosen.append(group[is_run])
        return chosen[::-1]

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(self.k, self.vectorizer, self.max_bootstrapped_demos, self.max_labeled_demos)

    @property
    def identity(self) -> dict[str, Any]:
        """What tells it from another: its state, and of a function also what it does."""
        state = self.dump_state()
        if "function" in state["vectorizer"]:
            state["vectorizer"]["does"] = fingerprint(self.vectorizer)
        return state

    def dump_state(self) -> dict[str, Any]:
        """What a saved program keeps of it: of an Embedder of a model its name, of a function nothing but that it was one."""
        limits = {name: getattr(self, name) for name in ("k", "max_bootstrapped_demos", "max_labeled_demos")}
        return {**limits, "vectorizer": _vectorizer_state(self.vectorizer)}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "NearestDemos":
        """The selector of a saved program. Raises ProgramFileError if its vectorizer was a function."""
        given = dict(state)
        found = given.pop("vectorizer")
        if "embedder" in found:
            return cls(**given, vectorizer=Embedder(**found["embedder"]))
        for name, kind in _OWN.items():
            if name in found:
                return cls(**given, vectorizer=kind(**found[name]))
        raise ProgramFileError(
            f"its demos are chosen by vectors of the function {found.get('function', '?')}, which no file can hold. Before you "
            f"load, set predictor.demo_selector = dspex.NearestDemos({state['k']}, vectorizer) with that function."
        )


def _vectorizer_state(vectorizer: Any) -> dict[str, Any]:
    if isinstance(vectorizer, Embedder) and isinstance(vectorizer.model, str):
        return {"embedder": vectorizer.dump_state()}
    for name, kind in _OWN.items():
        if isinstance(vectorizer, kind):
            return {name: vectorizer.dump_state()}
    inner = getattr(vectorizer, "model", vectorizer)
    return {"function": getattr(inner, "__qualname__", type(inner).__qualname__)}
