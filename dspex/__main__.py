"""`python -m dspex`, the same as `dspex`."""

from dspex.cli.main import main

main()
