"""Declares GEPA; nothing is imported before it is used."""

import dspex


@dspex.hookimpl
def dspex_optimizers() -> list[dspex.Spec]:
    """`dspex.GEPA`."""
    return [dspex.Spec("GEPA", "dspex_gepa.gepa:GEPA", "instructions rewritten by reflection on what went wrong")]
