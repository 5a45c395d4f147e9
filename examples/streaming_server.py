"""A web server that streams: what each part of a program writes, while it writes it, as server-sent events.

python examples/streaming_server.py llamacpp/gemma-3-270m
curl -N 'localhost:8080/guide?place=Lyon'
"""

import sys
from collections.abc import AsyncIterator

from aiohttp import web

import dspex
from dspex.streaming import aiohttp_sse

GUIDE = web.AppKey("guide", dspex.Module)
POPULATIONS = {"France": 68, "Japan": 124, "Kenya": 55}  # millions, 2023

COUNTRIES = [("Oslo", "Norway"), ("Osaka", "Japan"), ("Nairobi", "Kenya"), ("Porto", "Portugal")]
TEXTS = [
    ("Oslo", "Norway", "Oslo is the capital of Norway and lies at the end of a fjord, between hills and woods."),
    ("Porto", "Portugal", "Porto is a city in Portugal on the river Douro, known for its wine and its bridges."),
    ("Nairobi", "Kenya", "Nairobi is the capital of Kenya, and lions live in a park at the edge of the city."),
]


async def population(country: str) -> int:
    """How many millions of people live in a country."""
    if country not in POPULATIONS:
        raise KeyError(f"nothing is known of {country}")
    return POPULATIONS[country]


class Guide(dspex.Module):
    """The country of a place, how many people live there, and a sentence about the place."""

    def __init__(self) -> None:
        super().__init__()
        self.find = dspex.Predict("place -> country", max_tokens=8)
        self.find.demos = [dspex.Example(place=place, country=country) for place, country in COUNTRIES]
        self.tell = dspex.Predict("place, country -> text", max_tokens=40)
        self.tell.demos = [dspex.Example(place=place, country=country, text=text) for place, country, text in TEXTS]
        self.population = dspex.Tool(population)

    async def aforward(self, place: str) -> dspex.Prediction:
        country = (await self.find.acall(place=place)).country
        try:
            millions = await self.population.acall(country=country)
        except dspex.ToolError:
            millions = None
        text = (await self.tell.acall(place=place, country=country)).text
        return dspex.Prediction(country=country, millions=millions, text=text)


async def guide(request: web.Request) -> web.StreamResponse:
    """GET ?place=...: the program's events. One who leaves ends his program, and pays for no more than what he saw."""
    with dspex.budget(calls=4, seconds=60):
        return await aiohttp_sse(request, request.app[GUIDE].astream(place=request.query["place"]))


def server(lm: dspex.LM, **settings: object) -> web.Application:
    """The web application; its App opens and closes with it."""

    async def lifetime(_: web.Application) -> AsyncIterator[None]:
        async with dspex.App(**settings):
            yield

    site = web.Application()
    site[GUIDE] = Guide()
    site[GUIDE].set_lm(lm)
    site.cleanup_ctx.append(lifetime)
    site.add_routes([web.get("/guide", guide)])
    return site


if __name__ == "__main__":
    web.run_app(server(dspex.LM(sys.argv[1])), port=8080)
