"""Scenarios: what ``taktora sim run`` runs; finds the function or the App that a reference names, and runs nothing.

A reference is ``path/to/file.py``, ``path/to/file.py:function`` or ``package.module:function``. What it names is

* a function that takes a World: it builds what it wants, steps the World, and says what must hold by
  ``world.check(name, ok, detail)``, by ``assert``, or by returning checks;
* or an App (an object with a method ``bind``), or a function without parameters that returns one: it is bound to the
  World's runtime and runs for the time asked for.

Without a function a file's ``scenario`` is taken, else its ``app``, else its ``build``.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from taktora.errors import ConfigurationError
from taktora.places import line_of, place_of

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["Bindable", "Scenario", "ScenarioError", "app_scenario", "load_scenario"]

_USUAL_NAMES = ("scenario", "app", "build")


class ScenarioError(ConfigurationError):
    """A scenario reference names nothing that can be run; the message says what was found and what is expected."""


class Bindable(Protocol):
    """What an App looks like from here."""

    @property
    def bind(self) -> Callable[..., Any]:
        """Called with a runtime; returns something with methods ``start`` and ``close``."""
        ...


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something that can be run in a World.

    Args:
        reference: As it was given.
        name: Short name for files and reports.
        play: Called with the World.
        is_app: Whether ``play`` only starts an App, so that the World is still to be stepped.
        command: Words of the command line that runs it, up to the options.
    """

    reference: str
    name: str
    play: Callable[[World], Any]
    is_app: bool = False
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.command:
            object.__setattr__(self, "command", ("taktora", "sim", "run", self.reference))


def load_scenario(reference: str, *, machine: Path | None = None, bench: Path | None = None) -> Scenario:
    """Return what ``reference`` names.

    Args:
        reference: See the module.
        machine: Machine file to bind an App with, in place of its own.
        bench: Bench file to bind an App with.

    Raises:
        ScenarioError: no such file, module or name, an import that fails, or something that cannot be run, or that
            binds its App itself although files to bind it with are given.
    """
    place, wanted = _split(reference)
    is_file = place.endswith(".py")
    module = _import_file(Path(place)) if is_file else _import_module(place, reference)
    found, name = _pick(module, wanted, reference)
    short = Path(place).stem if is_file else place.rpartition(".")[2]
    if short in _USUAL_NAMES and is_file:
        short = Path(place).resolve().parent.name
    files = {option: path for option, path in (("machine", machine), ("bench", bench)) if path is not None}
    return _as_scenario(found, reference, f"{short}-{name}" if wanted else short, files)


def app_scenario(
    app: Bindable, name: str, command: tuple[str, ...] = (), reference: str = "", **bind_options: Any
) -> Scenario:
    """Return the scenario that runs ``app``, for those who have the object already.

    Args:
        app: The App.
        name: Its name.
        command: Words of the command line that runs it, up to the options of ``taktora sim run``.
        reference: What reports call it; its name unless given.
        bind_options: What ``bind`` takes besides the runtime: ``machine``, ``bench``.
    """
    play = partial(_start_app, app, **bind_options)
    return Scenario(reference or name, name, play, is_app=True, command=command)


def _split(reference: str) -> tuple[str, str]:
    place, colon, wanted = reference.rpartition(":")
    # A drive letter (C:\\x.py) is no function name.
    if not colon or "/" in wanted or "\\" in wanted:
        place, wanted = reference, ""
    if place.endswith(".py") or wanted:
        return place, wanted
    msg = f"{reference!r} is no scenario; write path/to/file.py, path/to/file.py:function or package.module:function"
    raise ScenarioError(msg)


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        near = [f"{entry}" for entry in sorted(path.parent.glob("*.py"))] if path.parent.is_dir() else []
        hint = f"; Python files there: {', '.join(near)}" if near else ""
        msg = f"{path}: no such file{hint}"
        raise ScenarioError(msg)
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        # Its neighbours are its modules, as if it were started by `python path/to/file.py`.
        sys.path.insert(0, folder)
    name = path.stem if path.stem.isidentifier() and path.stem not in sys.modules else f"scenario_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        msg = f"{path}: cannot be imported: {_in_words(error)}"
        raise ScenarioError(msg) from error
    return module


def _import_module(name: str, reference: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except Exception as error:
        msg = f"{reference}: module {name!r} cannot be imported: {_in_words(error)}"
        raise ScenarioError(msg) from error


def _in_words(error: Exception) -> str:
    """Return what an import has raised, with the place in the user's code if there is one."""
    place = f" ({place_of(error)})" if line_of(error) else ""
    return f"{type(error).__name__}: {error}{place}"


def _pick(module: ModuleType, wanted: str, reference: str) -> tuple[Any, str]:
    own = [name for name, value in vars(module).items() if _is_own_function(value, module) and name[0] != "_"]
    if wanted:
        if hasattr(module, wanted):
            return getattr(module, wanted), wanted
        near = get_close_matches(wanted, own, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        msg = f"{reference}: there is no {wanted!r}; {hint}functions there: {', '.join(own) or 'none'}"
        raise ScenarioError(msg)
    for name in _USUAL_NAMES:
        if hasattr(module, name):
            return getattr(module, name), name
    msg = (
        f"{reference}: defines neither scenario(world) nor an App called 'app' nor build(); name one, as in "
        f"{reference}:function (functions there: {', '.join(own) or 'none'})"
    )
    raise ScenarioError(msg)


def _is_own_function(value: Any, module: ModuleType) -> bool:
    return inspect.isfunction(value) and value.__module__ == module.__name__


def _as_scenario(found: Any, reference: str, name: str, files: Mapping[str, Any]) -> Scenario:
    words = [word for option, path in files.items() for word in (f"--{option}", path.as_posix())]
    command = ("taktora", "sim", "run", reference, *words)
    if not inspect.isclass(found) and hasattr(found, "bind"):
        return app_scenario(found, name, command, reference, **files)
    if not callable(found):
        msg = f"{reference}: is a {type(found).__name__}, expected a function of a World, or an App"
        raise ScenarioError(msg)
    needed = _required_parameters(found)
    if needed == 1:
        _refuse_files(reference, files)
        return Scenario(reference, name, found)
    if needed == 0:
        play = partial(_start_built_app, found, reference, **files)
        return Scenario(reference, name, play, is_app=True, command=command)
    msg = f"{reference}: needs {needed} arguments, expected one (the World) or none (returns an App)"
    raise ScenarioError(msg)


def _refuse_files(reference: str, files: Mapping[str, Any]) -> None:
    if files:
        msg = (
            f"{' and '.join(f'--{option}' for option in files)}: {reference} is a function of a World and binds its "
            "App itself; name the App or the function that returns it, as in path/to/file.py:build"
        )
        raise ScenarioError(msg)


def _required_parameters(function: Callable[..., Any]) -> int:
    parameters = inspect.signature(function).parameters.values()
    named = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = sum(each.default is each.empty for each in named)
    return 1 if needed == 0 and any(each.name == "world" for each in named) else needed


def _build(function: Callable[[], Any], reference: str) -> Bindable:
    app = function()
    if not hasattr(app, "bind"):
        msg = f"{reference}: returned a {type(app).__name__}, expected an App; a scenario takes the World as argument"
        raise ScenarioError(msg)
    return app  # type: ignore[no-any-return]


def _start_built_app(build: Callable[[], Any], reference: str, world: World, **bind_options: Any) -> None:
    _start_app(_build(build, reference), world, **bind_options)


def _start_app(app: Bindable, world: World, **bind_options: Any) -> None:
    bound = app.bind(world.runtime, **bind_options)
    world.on_close(bound.close)
    bound.start()
