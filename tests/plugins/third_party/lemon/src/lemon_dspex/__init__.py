"""Fails when it is imported."""

raise SystemExit("lemon was never finished")
