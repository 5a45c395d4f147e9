"""DSPy's path of Signature."""

from dspex.program.fields import infer_prefix
from dspex.program.signature import Signature, SignatureMeta, ensure_signature, make_signature

__all__ = ["Signature", "SignatureMeta", "ensure_signature", "infer_prefix", "make_signature"]
