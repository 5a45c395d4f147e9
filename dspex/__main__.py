"""The `dspex` command, also as `python -m dspex`."""

import signal


def main() -> None:
    """Run the command; Ctrl-C while it is still being loaded ends it without a word."""
    before = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dspex.cli.main import main as command

    signal.signal(signal.SIGINT, before)
    command()


if __name__ == "__main__":
    main()
