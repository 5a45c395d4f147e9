"""Floor 8: compiles as journalled, resumable, deterministic jobs."""
