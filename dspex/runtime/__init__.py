"""Floor 2: what keeps requests apart and background work alive."""
