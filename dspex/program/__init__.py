"""Floor 6: stateless programs: signatures, adapters and modules."""
