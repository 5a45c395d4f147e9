"""DSPy's oldest path, of which its settings and two helpers are left: `from dspex.dsp.utils import deduplicate, dotdict, settings`."""
