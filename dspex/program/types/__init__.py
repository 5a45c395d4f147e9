"""Types for fields that are more than data: media, history, code, reasoning, citations."""
