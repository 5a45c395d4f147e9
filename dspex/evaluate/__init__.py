"""Floor 7: programs scored on examples, and how sure a score or a gain is."""
