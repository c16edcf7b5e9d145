"""Binds stand-ins for modules and functions where project code sees them; the modules themselves stay as they are.

In the modules of the project the names that hold a replaced module, function or class are bound to the stand-in for
the time of a run, and an import inside project code gets the stand-in too. Third parties and the standard library keep
the real thing.
"""

from __future__ import annotations

import builtins
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any

from taktora_sim.escapes import Scope, ScopeMap

__all__ = ["StandIns", "look_alike"]


class _View(ModuleType):
    """A module with some names replaced; everything else is the real module's."""

    def __init__(self, real: ModuleType, replaced: Mapping[str, Any]) -> None:
        super().__init__(real.__name__, real.__doc__)
        self.__dict__.update(replaced)
        self.__dict__["_real"] = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["_real"], name)

    def __dir__(self) -> list[str]:
        return dir(self.__dict__["_real"])


class StandIns:
    """Puts replacements in place and takes them away again.

    Args:
        scopes: Says which files are project code.
        replaced: By module name, then by name in it: what project code is to see.
    """

    def __init__(self, scopes: ScopeMap, replaced: Mapping[str, Mapping[str, Any]]) -> None:
        self._scopes = scopes
        self._views = {name: _View(sys.modules[name], names) for name, names in replaced.items()}
        pairs = [(sys.modules[name], view) for name, view in self._views.items()]
        for module, names in replaced.items():
            pairs += [(getattr(sys.modules[module], name), stand_in) for name, stand_in in names.items()]
        self._pairs = pairs
        self._import = builtins.__import__

    def install(self) -> None:
        """Bind the stand-ins in every project module that is loaded, and in those loaded from now on."""
        self._bind({id(real): stand_in for real, stand_in in self._pairs})
        self._import = builtins.__import__
        builtins.__import__ = self._import_for_project

    def remove(self) -> None:
        """Give every name back what it was bound to."""
        builtins.__import__ = self._import
        self._bind({id(stand_in): real for real, stand_in in self._pairs})

    def _bind(self, values: dict[int, Any]) -> None:
        for names in self._project_names():
            for name, value in list(names.items()):
                if id(value) in values:
                    names[name] = values[id(value)]

    def _project_names(self) -> Iterator[dict[str, Any]]:
        for module in list(sys.modules.values()):
            names = getattr(module, "__dict__", None)
            if isinstance(names, dict) and self._is_project(names):
                yield names

    def _is_project(self, names: Mapping[str, Any]) -> bool:
        file = names.get("__file__")
        return isinstance(file, str) and self._scopes[file] is Scope.APPLICATION

    def _import_for_project(
        self,
        name: str,
        globals: Any = None,  # noqa: A002 - the names of __import__'s parameters are part of its interface
        locals: Any = None,  # noqa: A002
        fromlist: Any = (),
        level: int = 0,
    ) -> Any:
        module = self._import(name, globals, locals, fromlist, level)
        if level == 0 and isinstance(globals, dict) and self._is_project(globals):
            return self._views.get(module.__name__, module)
        return module


def look_alike(real: type, *, before: Callable[..., None] | None = None, **replaced: Any) -> type:
    """Return a class with ``replaced`` attributes that makes instances of ``real`` and passes for it in isinstance.

    Args:
        real: The class.
        before: Called with the arguments before an instance is made; its caller's caller is who asked for one.
        replaced: Class attributes to put over those of ``real``.
    """

    def new(_cls: type, *arguments: Any, **named: Any) -> Any:
        if before is not None:
            before(*arguments, **named)
        return real(*arguments, **named)

    class Meta(type(real)):  # type: ignore[misc]
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, real)

        def __subclasscheck__(cls, subclass: type) -> bool:
            return issubclass(subclass, real)

    return Meta(real.__name__, (real,), {"__new__": new, **replaced})
