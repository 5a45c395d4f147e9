"""DSPy's oldest path, of which its settings are left: `from dspex.dsp.utils.settings import settings`."""
