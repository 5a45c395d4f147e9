"""Floor 1: plain data and seams that everything else is written in."""
