"""The folder below which all processes with shared memory meet, and who may use it; it makes and removes nothing."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["fault_of_folder"]


# req: REQ_8510
def fault_of_folder(root: Path) -> str:
    """Return why iceoryx2 cannot work below ``root``, where all its users of this computer meet; "" if it can."""
    for folder in (root, root / "nodes", root / "services"):
        try:
            owner_id = folder.stat().st_uid
        except OSError:
            continue  # not there, and iceoryx2 makes it, or hidden in one that is refused here
        if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            owner = _user_name(owner_id)
            return (
                f"folder {folder} belongs to user {owner!r} and is closed to {_user_name(os.geteuid())!r}; processes "
                f"that share memory run as one user: run this one as {owner!r}, or end what runs as {owner!r} and "
                f"remove the folder (sudo rm -r {root})"
            )
    return ""


def _user_name(user_id: int) -> str:
    from pwd import getpwuid

    try:
        return getpwuid(user_id).pw_name
    except KeyError:
        return str(user_id)
