"""taktora: control software written once, proven in virtual time, on real protocol stacks and on the machine."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taktora.app import App, Context
    from taktora.runtime import Runtime

__all__ = ["App", "Context", "Runtime"]

_HOMES = {"App": "taktora.app", "Context": "taktora.app", "Runtime": "taktora.runtime"}


def __getattr__(name: str) -> Any:
    """Import what is asked for, and not before: ``import taktora`` alone stays cheap, and traceability stands alone."""
    if name not in _HOMES:
        msg = f"module 'taktora' has no attribute {name!r}"
        raise AttributeError(msg)
    return getattr(import_module(_HOMES[name]), name)
