"""What somebody else's package declares; nothing heavy is imported here."""

import dspex


@dspex.hookimpl
def dspex_lm_providers():
    return [dspex.Spec("acme", "acme_dspex.parts:Provider", "Models of Acme")]


@dspex.hookimpl
def dspex_middleware():
    return [dspex.Spec("stamp", "acme_dspex.parts:stamp")]


@dspex.hookimpl
def dspex_subscribers():
    return [dspex.Spec("listener", "acme_dspex.parts:Listener")]


@dspex.hookimpl
def dspex_commands():
    import click

    @click.command("acme-hello")
    def hello():
        """Greet from Acme."""
        click.echo("hello from Acme")

    return [hello]
