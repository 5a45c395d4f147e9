"""`dspex ollama`: which models are installed there."""

import asyncio
from typing import Any

import click

import dspex


@click.command("ollama")
@click.option("--api-base", help="Where Ollama is; by default OLLAMA_HOST, then this machine.")
def ollama(api_base: str | None) -> None:
    """List the models that Ollama has installed, as dspex.LM and dspex.Embedder name them."""
    try:
        names = asyncio.run(_names(api_base))
    except dspex.LMError as error:
        raise click.ClickException(f"{error} Does `ollama serve` run there?") from error
    for name in names:
        click.echo(f"ollama/{name}")
    if not names:
        click.echo("No model is installed: `ollama pull llama3.2` gets one.")


async def _names(api_base: str | None) -> list[str]:
    async with dspex.App():
        provider: Any = dspex.LM("ollama/models", api_base=api_base, learn=False).service.provider
        names: list[str] = await provider.models()
        return sorted(names)
