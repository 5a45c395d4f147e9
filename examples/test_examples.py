"""Each example runs as it stands, and says what its words promise."""

import importlib.util
from pathlib import Path

HERE = Path(__file__).parent


def test_country_codes_shows_the_gain_of_demos(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = importlib.util.spec_from_file_location("country_codes", HERE / "country_codes.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    gain = module.main()
    assert gain.verdict == "better"
    assert (tmp_path / "country_codes.json").exists()
