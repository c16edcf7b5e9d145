"""The world's CAN interfaces, for this folder's tests."""

from __future__ import annotations

from tests.real_can import _shared_rig, can_interfaces, can_rig

__all__ = ["_shared_rig", "can_interfaces", "can_rig"]
