"""Names that dspex has itself, and that no plugin can offer."""

import sys

from dspex.plugin.catalog import OWN_ADAPTERS, OWN_COMMANDS
from dspex.plugin.loading import PluginRecord
from dspex.plugin.manager import PluginManager


def offered(manager: PluginManager, record: PluginRecord, kind: str) -> list[str]:
    """The names that a plugin offers for a kind."""
    if kind != "commands":
        return [spec.name for spec in record.provides.get(kind, ())]
    found = manager.commands()[0]
    return sorted(name for name, offers in found.items() if any(owner is record for owner, _ in offers))


def own_names(manager: PluginManager, record: PluginRecord, kind: str) -> list[str]:
    """What a plugin offers for a kind, and dspex has itself."""
    own = {
        "commands": OWN_COMMANDS,
        "adapters": {*OWN_ADAPTERS, "two_step"},
        "optimizers": sys.modules["dspex"].__all__,  # the facade's, where they are called by their names
    }
    return [name for name in offered(manager, record, kind) if name in own.get(kind, ())]
