"""Floor 4: the stateful services that stand between a program and a provider."""
