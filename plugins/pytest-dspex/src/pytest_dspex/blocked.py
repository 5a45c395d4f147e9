"""What a test is told that wants out."""

from dspex.core.errors import ConfigurationError


class NetworkBlocked(ConfigurationError):
    """A test wanted to reach another host than this one. It is final: no call is tried again for it."""
