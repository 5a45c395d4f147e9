"""Build packages in one process, by the hooks of their backend that a front-end calls: a front-end starts interpreters for each.

`build_packages.py wheels OUT FOLDER...` builds the wheel of each folder, `build_packages.py releases OUT FOLDER...` the sdist and,
from that, the wheel.
"""

import sys
import tarfile
import tempfile
from contextlib import chdir
from pathlib import Path

from hatchling.build import build_sdist, build_wheel


def release(out: str) -> str:
    """Build the sdist of the folder that we are in, and a wheel from what a user unpacks of it."""
    sdist = build_sdist(out)
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(Path(out, sdist)) as archive:
            archive.extractall(folder, filter="data")
        with chdir(Path(folder, sdist.removesuffix(".tar.gz"))):
            return build_wheel(out)


def main(kind: str, out: str, *folders: str) -> None:
    """Build what is asked of each folder."""
    build = {"wheels": build_wheel, "releases": release}[kind]
    there = Path(out).absolute()
    there.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        with chdir(folder):
            build(str(there))
    print(f"{len(folders)} packages")


if __name__ == "__main__":
    main(*sys.argv[1:])
