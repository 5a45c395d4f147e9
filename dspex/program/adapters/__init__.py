"""Adapters: how a signature becomes messages, and a completion becomes values."""
