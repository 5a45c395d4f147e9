"""DSPy's path of signatures."""

from dspex.signatures.field import InputField, OutputField
from dspex.signatures.signature import Signature, SignatureMeta, ensure_signature, infer_prefix, make_signature

__all__ = [
    "InputField",
    "OutputField",
    "Signature",
    "SignatureMeta",
    "ensure_signature",
    "infer_prefix",
    "make_signature",
]
