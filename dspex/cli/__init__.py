"""Floor 9: the `dspex` command."""
