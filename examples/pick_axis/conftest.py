"""Puts the application's folder on the path of its tests; pytest does so because this file is here."""

from __future__ import annotations

import sys

# Where the tests of all examples run in one process, 'app' may be that of another one: this one's is to be imported.
sys.modules.pop("app", None)
