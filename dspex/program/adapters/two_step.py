"""TwoStep: the model answers in its own words, and a second model takes the fields out of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from dspex.app.app import current_app
from dspex.app.current import context
from dspex.app.lm import LM
from dspex.core.errors import AdapterParseError, ConfigurationError
from dspex.program.adapters import base
from dspex.program.adapters.adapter import Adapter
from dspex.program.adapters.chat import ChatAdapter
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo, InputField
from dspex.program.parts import Content, joined
from dspex.program.predict import Predict
from dspex.program.signature import Signature
from dspex.runtime.scope import use
from dspex.runtime.stepping import run_stepped


class TwoStepAdapter(Adapter):
    """For models that think better without a form. Each completion costs one call of `extraction_model` more.

    `adapter_kwargs` go to the ChatAdapter that the second model is asked by. A reply that the second model finds no
    fields in is asked for again there (`max_reasks`), never of the first model.
    """

    name = "two_step"
    version = 2

    def __init__(self, extraction_model: LM, **adapter_kwargs: Any) -> None:
        super().__init__()
        if not isinstance(extraction_model, LM):
            raise ConfigurationError(
                f"TwoStepAdapter takes a dspex.LM as extraction_model, not {extraction_model!r:.80}."
            )
        self.extraction_model = extraction_model
        self._chat = ChatAdapter(**adapter_kwargs)

    def format(self, signature: Any, demos: Sequence[Any], inputs: Mapping[str, Any]) -> list[dict[str, Any]]:
        """System message, a pair of turns for each demo, and the inputs, which stand as in Chat."""
        compiled = base.compiled_of(signature)
        earlier = base.earlier(compiled, inputs)
        compiled = compiled.without_history if compiled.history else compiled
        messages: list[dict[str, Any]] = [{"role": "system", "content": _system(compiled)}]
        for demo, _ in base.sorted_demos(compiled, demos):
            asked = self._chat.format_user_message_content(compiled, demo)
            answered = self.format_assistant_message_content(compiled, demo, base.NOT_GIVEN)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]
        for given, said in earlier:
            asked = self._chat.format_field_with_value(given)
            messages += [{"role": "user", "content": asked}] if given else []
            messages += [{"role": "assistant", "content": _listed(said)}] if said else []
        return [*messages, {"role": "user", "content": self._chat.format_user_message_content(compiled, inputs)}]

    def format_assistant_message_content(
        self, signature: Any, outputs: Any, missing_field_message: str | None = None
    ) -> Content:
        """A reply with these values, as a person would list them."""
        values = base.present(base.compiled_of(signature).outputs, outputs, missing_field_message)
        return _listed(values)

    def parse(self, signature: Any, completion: str) -> dict[str, Any]:
        """As `aparse`, for code that is not async."""
        return run_stepped(current_app().bridge, self.aparse(signature, completion))

    async def aparse(self, signature: Any, completion: str) -> dict[str, Any]:
        """Values that the second model finds. Raises AdapterParseError with the first model's completion, LMError classes."""
        extract, given = _extraction(base.compiled_of(signature))
        predict = Predict(extract)
        predict.lm = self.extraction_model
        try:
            with context(adapter=self._chat), use(trace=None):  # the step is no part of the program
                found = await predict.acall(**{given: completion})
        except AdapterParseError as error:
            raise AdapterParseError(
                f"No fields of `{base.compiled_of(signature).text}` were found in a reply in free text: {error}",
                adapter_name=type(self).__name__,
                signature=signature,
                lm_response=completion,
                parsed_result=error.parsed_result,
                field=error.field,
                reason=error.reason,
                usage=error.usage,
            ) from error
        return {field.name: found[field.name] for field in extract.compiled.outputs}

    def is_complete(self, signature: Any, completion: str) -> bool:
        """Never known: this form has no end."""
        return False


def _listed(values: Mapping[FieldInfo, Any]) -> Content:
    return joined("\n", [joined("", (f"{field.prefix} ", base.shown(field, value))) for field, value in values.items()])


def _system(compiled: CompiledSignature) -> str:
    text: str | None = compiled.templates.get("two step")
    if text is None:
        given = f"You are given:\n{base.field_lines(compiled.inputs)}\n\n" if compiled.inputs else ""
        wanted = base.field_lines(compiled.outputs)
        task = f"Your task:\n{compiled.instructions}"
        text = f"{given}Answer in your own words, so that a reader can tell each of these:\n{wanted}\n\n{task}"
        compiled.templates["two step"] = text
    return text


def _extraction(compiled: CompiledSignature) -> tuple[Any, str]:
    """The signature of the second step, and its input's name."""
    kept: tuple[Any, str] | None = compiled.templates.get("two step extraction")
    if kept is None:
        given = "text"
        while given in compiled.fields:
            given += "_"
        desc = "an answer in free text"
        fields = {given: (str, InputField(desc=desc)), **{f.name: (f.annotation, f) for f in compiled.outputs}}
        words = f"Take what the text says for each field, and change nothing. The text answers this task:\n{compiled.instructions}"
        kept = compiled.templates["two step extraction"] = Signature(fields, words), given
    return kept
