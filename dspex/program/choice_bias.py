"""Calibrated choices: of the labels that the model weighed, the one with the largest log-probability plus bias.

Only the tokens that were sampled are known with what stood beside them, so a label counts if it parts from the reply's
own label at one of them. What the model wrote after the label stays as it is.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import accumulate
from math import exp, inf, log1p
from typing import Any

from dspex.core.endpoint import Capabilities
from dspex.core.errors import AdapterParseError, BadRequest, ConfigurationError, ProtocolError
from dspex.core.messages import Choice
from dspex.core.nearest import did_you_mean
from dspex.program.compiled import CompiledSignature
from dspex.program.fields import FieldInfo
from dspex.program.values import render

ASKED = 20  # where it is not known how many are shown: as many as OpenAI does

_IN_WORD = re.compile(rb"[\w\x80-\xff]")

Bias = Mapping[str, Mapping[str, float]]


def read_bias(compiled: CompiledSignature, given: Mapping[Any, Any]) -> Bias:
    """Biases by field and label. `given` is by value where one output has choices, else by field's name and value.

    Raises ConfigurationError for a field without choices and a value that is none of them.
    """
    if not isinstance(given, Mapping):
        raise ConfigurationError(f"choice_bias is a mapping of values to numbers, not {given!r:.80}.")
    open_fields = {field.name: field for field in compiled.outputs if field.choices}
    nested = all(isinstance(weights, Mapping) for weights in given.values())
    if not nested and len(open_fields) != 1:
        shown = ", ".join(open_fields) or "none"
        raise ConfigurationError(
            f"choice_bias of `{compiled.text}` needs fields' names; outputs with choices: {shown}."
        )
    by_field = given if nested else {next(iter(open_fields)): given}
    for name in by_field.keys() - open_fields.keys():
        raise ConfigurationError(f"choice_bias: {name!r} is no output with choices.{did_you_mean(name, open_fields)}")
    return {name: _weights(open_fields[name], weights) for name, weights in by_field.items()}


def _weights(field: FieldInfo, given: Mapping[Any, float]) -> dict[str, float]:
    weights = {render(value): weight for value, weight in given.items()}
    for label, weight in weights.items():
        if label not in field.choices:
            raise ConfigurationError(f"choice_bias of {field.name!r}: {label!r} is none of {', '.join(field.choices)}.")
        if not isinstance(weight, (int, float)):
            raise ConfigurationError(f"choice_bias of {field.name!r}: {label!r} needs a number.")
    return weights


def with_logprobs(params: Mapping[str, Any], capabilities: Capabilities, adapter: Any) -> Mapping[str, Any]:
    """Parameters that ask for log-probabilities. Raises BadRequest where there are none.

    Raises ConfigurationError for an adapter whose fields another reply is read from.
    """
    if hasattr(adapter, "aparse"):
        raise ConfigurationError(f"choice_bias needs an adapter that reads the model's own reply, not {adapter!r:.80}.")
    if capabilities.logprobs is False:
        raise BadRequest("choice_bias needs log-probabilities, which this model does not give (capability: logprobs).")
    return {**params, "logprobs": True, "top_logprobs": capabilities.top_logprobs or ASKED}


def bias_of(
    compiled: CompiledSignature, given: Mapping[Any, Any], told: Callable[[Mapping[str, Mapping[str, float]]], None]
) -> Callable[[Callable[[str], dict[str, Any]], Choice, dict[str, Any]], dict[str, Any]]:
    """What weighs the choices of a reply again; `told` is given what the model weighed, by field. Raises ConfigurationError as `read_bias` does."""
    return partial(_decided, compiled, read_bias(compiled, given), told=told)


def _decided(
    compiled: CompiledSignature,
    bias: Bias,
    parse: Callable[[str], dict[str, Any]],
    choice: Choice,
    outputs: dict[str, Any],
    *,
    told: Callable[[Mapping[str, Mapping[str, float]]], None],
) -> dict[str, Any]:
    """The outputs with the labels that win. A label spelled in no way that is known stays.

    Raises BadRequest for a reply without log-probabilities, ProtocolError for ones of another text.
    """
    tokens = _Tokens(choice)
    won, weighed = {}, {}
    for name, weights in bias.items():
        field, own = compiled.fields[name], render(outputs[name])
        swaps = {} if not own or own not in field.choices else _swaps(field, parse, choice.text, own)
        for at, others in swaps.items():
            scores = weighed[name] = tokens.scores(at, own, field.choices)
            best = max((own, *others), key=lambda label: scores.get(label, -inf) + weights.get(label, 0.0))
            won[name] = others.get(best, outputs[name])
    told(weighed)
    return {**outputs, **won}


def _swaps(field: FieldInfo, parse: Callable[[str], dict[str, Any]], text: str, own: str) -> dict[int, dict[str, Any]]:
    """Where the reply's label stands, and what it would be read as with each other label there; empty if nowhere."""
    for match in reversed([*re.finditer(re.escape(own), text, re.IGNORECASE)]):  # a label mostly stands near the end
        others = {}
        for label in field.choices:
            try:
                value = parse(text[: match.start()] + label + text[match.end() :])[field.name]
            except AdapterParseError:
                break
            if render(value) != label:
                break
            others[label] = value
        else:
            return {match.start(): others}
    return {}


class _Tokens:
    """The reply's tokens as bytes, each with what else the model weighed there."""

    def __init__(self, choice: Choice) -> None:
        rows = (choice.logprobs or {}).get("content")
        if not rows:
            raise BadRequest("choice_bias: the reply came without log-probabilities (capability: logprobs).")
        self.text = choice.text
        self.rows = [(_piece(row), row["logprob"], row.get("top_logprobs") or ()) for row in rows]
        self.before = b"".join(piece for piece, _, _ in self.rows).find(choice.text.encode())
        if self.before < 0:
            raise ProtocolError("The log-probabilities are not those of the reply's text.")

    def scores(self, at: int, own: str, labels: Iterable[str]) -> dict[str, float]:
        """Log-probabilities of the labels that were weighed where one begins, `at` characters into the reply."""
        first, before = self._start(self.before + len(self.text[:at].encode()))
        lead: bytes | None = before
        scores: dict[str, float] = {}
        left, path, spent = {label: label.encode().lower() for label in labels}, b"", 0.0
        for piece, logprob, weighed in self.rows[first:]:
            for other in weighed:
                fits = _fitting(left, _grown(path, _piece(other), lead))
                if len(fits) == 1 and _piece(other) != piece:
                    scores[fits[0]] = _sum(scores.get(fits[0], -inf), spent + other["logprob"])
            path, spent, lead = _grown(path, piece, lead) or b"", spent + logprob, None
            left = {label: left[label] for label in _fitting(left, path)}
            if len(left) < 2:
                break
        scores[own] = _sum(scores.get(own, -inf), spent)
        return scores

    def _start(self, place: int) -> tuple[int, bytes]:
        """The token that holds a place, and what of it comes before."""
        ends = list(accumulate(len(piece) for piece, _, _ in self.rows))
        first = bisect_right(ends, place)
        piece = self.rows[first][0]
        return first, piece[: place - ends[first] + len(piece)]


def _piece(row: Mapping[str, Any]) -> bytes:
    known = row.get("bytes")
    return row["token"].encode() if known is None else bytes(known)


def _grown(path: bytes, piece: bytes, lead: bytes | None) -> bytes | None:
    """The label so far with one more token; `lead` is what the first one has before the label, like a blank or a quote."""
    if lead is None:
        return path + piece.lower()
    if lead.strip() and not piece.startswith(lead):
        return None
    return piece.removeprefix(lead).lstrip().lower()


def _fitting(labels: Mapping[str, bytes], start: bytes | None) -> list[str]:
    """Labels that begin so, or with which it begins as a whole word."""
    if start is None:
        return []
    return [
        label
        for label, text in labels.items()
        if text.startswith(start) or (start.startswith(text) and not _IN_WORD.match(start, len(text)))
    ]


def _sum(one: float, other: float) -> float:
    """The logarithm of the sum of two probabilities."""
    low, high = sorted((one, other))
    return high if low == -inf else high + log1p(exp(low - high))
