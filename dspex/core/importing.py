"""Whether a module is asked for a name by `from ... import`, which drops what an AttributeError says."""

from types import FrameType


def is_import(asking: FrameType) -> bool:
    """Whether this frame stands at the import of a name; anything else, as `hasattr`, is to get an AttributeError."""
    import dis

    return dis.opname[asking.f_code.co_code[asking.f_lasti]] == "IMPORT_FROM"
