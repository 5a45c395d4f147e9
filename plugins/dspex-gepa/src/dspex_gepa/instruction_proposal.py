"""New instructions from runs with pictures, sounds and files in them, which are shown to the model as they are."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from dspex import Audio, File, Image, InputField, Predict
from dspex_gepa.reflection import Reflect, shown, unfenced

KINDS = {Image: "pictures", Audio: "sounds", File: "files"}


class MultiModalInstructionProposer:
    """For GEPA's `instruction_proposer`: its own reflection, for a model that sees what the runs were given.

    It asks `reflection_lm`, once for each component; the pictures, sounds and files of the runs go along, by their numbers.
    """

    async def __call__(
        self,
        candidate: Mapping[str, str],
        reflective_dataset: Mapping[str, Sequence[Mapping[str, Any]]],
        components_to_update: Sequence[str],
    ) -> dict[str, str]:
        """The new texts by component."""
        names = [name for name in components_to_update if name in candidate and name in reflective_dataset]
        texts = await asyncio.gather(*(_rewritten(candidate[name], reflective_dataset[name]) for name in names))
        return dict(zip(names, texts, strict=True))


async def _rewritten(instruction: str, records: Sequence[Mapping[str, Any]]) -> str:
    media: dict[str, list[Any]] = {}
    runs = shown([{**record, "Inputs": _named(record["Inputs"], media)} for record in records])
    signature = Reflect.delete("part")
    for kind, name in KINDS.items():
        if name in media:
            field = InputField(desc=f"the {name} of the runs, in the order of their numbers")
            signature = signature.insert(-1, name, field, list[kind])  # type: ignore[valid-type]  # one of three
    reply = await Predict(signature).acall(current_instruction=instruction, runs=runs, **media)
    return unfenced(reply.new_instruction)


def _named(inputs: Mapping[str, Any], media: dict[str, list[Any]]) -> dict[str, Any]:
    """The inputs with a number in the place of each picture, sound or file, which are put into `media`."""

    def put(value: Any) -> Any:
        if isinstance(value, list):
            return list(map(put, value))
        name = next((name for kind, name in KINDS.items() if isinstance(value, kind)), None)
        if name is None:
            return value
        shelf = media.setdefault(name, [])
        shelf.append(value)
        return f"({name[:-1]} {len(shelf)})"

    return {name: put(value) for name, value in inputs.items()}
