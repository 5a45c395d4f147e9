"""Modules made from a signature, as type checkers see them: called with its inputs, they give its outputs."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, Protocol, overload

from dspex.app.lm import LM
from dspex.core.example import Prediction
from dspex.program.module import Module

if TYPE_CHECKING:  # Python has the defaults from 3.13 on, its type checkers have them now
    from typing_extensions import ParamSpec, TypeVar

    P = ParamSpec("P", default=...)
    S_co = TypeVar("S_co", covariant=True, default=Prediction)
else:
    from typing import ParamSpec, TypeVar

    P = ParamSpec("P")
    S_co = TypeVar("S_co", covariant=True)
Q = ParamSpec("Q")
T = TypeVar("T")


class SignatureClass(Protocol[P, S_co]):
    """A signature's class, known by what makes its records: the inputs."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> S_co: ...


class SignatureModule(Module, Generic[P, S_co]):
    """A module that takes the inputs P of a signature S_co and gives its outputs.

    With one of the words beside the inputs (`config=`, `lm=`, `demos=`, `signature=`) the inputs go unchecked: Python's
    types cannot add keywords to those of a signature.
    """

    if TYPE_CHECKING:

        @overload
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> S_co: ...
        @overload
        def __call__(self, *, config: Mapping[str, Any], **kwargs: Any) -> S_co: ...
        @overload
        def __call__(self, *, lm: LM | None, **kwargs: Any) -> S_co: ...
        @overload
        def __call__(self, *, demos: Sequence[Any], **kwargs: Any) -> S_co: ...
        @overload
        def __call__(self, *, signature: str | Mapping[str, Any], **kwargs: Any) -> Any: ...
        @overload
        def __call__(self, *, signature: SignatureClass[..., T], **kwargs: Any) -> T: ...
        def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

        @overload
        async def acall(self, *args: P.args, **kwargs: P.kwargs) -> S_co: ...
        @overload
        async def acall(self, *, config: Mapping[str, Any], **kwargs: Any) -> S_co: ...
        @overload
        async def acall(self, *, lm: LM | None, **kwargs: Any) -> S_co: ...
        @overload
        async def acall(self, *, demos: Sequence[Any], **kwargs: Any) -> S_co: ...
        @overload
        async def acall(self, *, signature: str | Mapping[str, Any], **kwargs: Any) -> Any: ...
        @overload
        async def acall(self, *, signature: SignatureClass[..., T], **kwargs: Any) -> T: ...
        async def acall(self, *args: Any, **kwargs: Any) -> Any: ...
