"""How long a test waits for what must happen anyway: a guard against hanging, never a statement about speed."""

from __future__ import annotations

from typing import Final

__all__ = ["PATIENCE_S"]

PATIENCE_S: Final = 120.0
