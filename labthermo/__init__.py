"""labthermo: train physical devices where they stand.

The names a user needs: ``Station``, ``Query``, ``Response``, ``Status``, ``Channel``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labthermo.channel import Channel
    from labthermo.device import Device, Query, Response, Status
    from labthermo.station import Station

__version__ = "0.1.0"
__all__ = ["Channel", "Device", "Query", "Response", "Station", "Status", "__version__"]

_HOMES = {
    "Channel": "labthermo.channel",
    "Device": "labthermo.device",
    "Query": "labthermo.device",
    "Response": "labthermo.device",
    "Status": "labthermo.device",
    "Station": "labthermo.station",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``labthermo --help`` stays quick."""
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'labthermo' has no attribute {name!r}")
