"""``python -m taktora``: the ``taktora`` command."""

from __future__ import annotations

from taktora.cli.main import main

if __name__ == "__main__":
    main()
