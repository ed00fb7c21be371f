"""Which settings the Swarm engine refuses: those that would give notebooks a network, which they lack there."""

from __future__ import annotations

from tmpnb_py.core.errors import SettingsError
from tmpnb_py.core.models import Egress
from tmpnb_py.options.settings import OPTIONS, Settings
from tmpnb_py.options.sources import refused


def for_swarm(settings: Settings) -> Settings:
    """The settings as they are. Raise `SettingsError` for what would not be as the operator means it."""
    odd = [OPTIONS[name].flag for name in refused(settings, "swarm")]
    odd += ["--egress"] if settings.egress is not Egress.NONE else []
    odd += ["--host-network"] if settings.host_network else []
    odd += ["--transport"] if settings.transport not in ("auto", "socket") else []
    if odd:
        raise SettingsError(
            f"{', '.join(odd)}: notebooks in a swarm have no network, and are reached over Unix sockets",
            remedy="Leave it out, or use --engine docker on one machine.",
        )
    return settings
