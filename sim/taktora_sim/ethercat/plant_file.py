"""Plants from a Python file of the user's own, which a bench file names; what the file does is its own business.

::

    [ethercat.cell.plant.axis]
    kind = "python"
    file = "plant.py"          # relative to the bench file
    function = "attach"        # called as attach(segment, label, settings), with the settings that are left
    patience_s = 1.0

One such entry can put the whole machine behind the segment: the function has all devices of it at hand.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from taktora.errors import ConfigurationError
from taktora.places import place_of

if TYPE_CHECKING:
    from taktora_sim.ethercat.segment import SimulatedSegment

__all__ = ["make_python"]


# req: REQ_8108
def make_python(segment: SimulatedSegment, label: str, settings: Mapping[str, object], folder: Path = Path()) -> object:
    """Call the function of the file that the settings name; return what it returns.

    Raises:
        ConfigurationError: no such file or function, or the file cannot be imported.
    """
    place = f"[ethercat.{segment.name}.plant.{label}]"
    others = dict(settings)
    file, function = others.pop("file", None), others.pop("function", "attach")
    if not isinstance(file, str) or not isinstance(function, str):
        raise ConfigurationError(
            f'{place}: a plant of kind "python" needs file = "plant.py", relative to the bench file'
        )
    path = (folder / file).resolve()
    if not path.is_file():
        raise ConfigurationError(f"{place}: file = {file!r}; {path}: no such file")
    found = getattr(_imported(path, place), function, None)
    if not callable(found):
        raise ConfigurationError(
            f"{place}: {path} has no function {function!r}; write def {function}(segment, label, settings)"
        )
    return found(segment, label, others)


def _imported(path: Path, place: str) -> Any:
    """Import the file anew, with its neighbours as its modules."""
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(f"plant_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        words = f"{type(error).__name__}: {error} ({place_of(error)})"
        raise ConfigurationError(f"{place}: {path} cannot be imported: {words}") from error
    return module
