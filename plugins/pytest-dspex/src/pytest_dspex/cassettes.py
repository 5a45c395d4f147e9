"""Where a test's cassette lies, and whether it is played or recorded."""

import hashlib
import re
from pathlib import Path
from typing import Literal

LONGEST = 100
Record = Literal["none", "once", "all"]
Mode = Literal["record", "replay"]


def place(file: Path, node_id: str) -> Path:
    """`cassettes/test_file/name.jsonl` beside a test's file; what a file name cannot hold becomes a dash."""
    words = node_id.split("::")[1:]
    name = re.sub(r"[^\w.=,-]+", "-", ".".join(words)).strip("-.") or "test"
    if len(name) > LONGEST or name != ".".join(words):
        digest = hashlib.blake2b(node_id.partition("::")[2].encode(), digest_size=4).hexdigest()
        name = f"{name[:LONGEST]}-{digest}"
    return file.parent / "cassettes" / file.stem / f"{name}.jsonl"


def mode(record: Record, path: Path) -> Mode:
    """What is done with a cassette."""
    return "record" if record == "all" or (record == "once" and not path.exists()) else "replay"
