"""Three ways of seeing the calls of project code that lead out of a simulation; what to do about one is the guard's."""

from __future__ import annotations

import datetime as dt
import functools
import sys
import threading
from collections.abc import Callable, Mapping
from types import BuiltinMethodType, CodeType, FrameType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any, Literal, Protocol, TypeAlias

from taktora_sim.escapes import CLOCK_METHODS, RULES, Rule, Scope, ScopeMap
from taktora_sim.standins import StandIns, look_alike

__all__ = ["Watch", "Watching", "make_watches"]

Watching: TypeAlias = Literal["auto", "monitoring", "profile", "imports"]
Names: TypeAlias = Mapping[str, Mapping[str, Any]]
Report: TypeAlias = Callable[[Rule, str, int], None]
"""Called with the rule, the file and the line of the call, before it takes place; may raise."""

_RULES_BY_ID: dict[int, list[Rule]] = {}
for _rule in RULES:
    _RULES_BY_ID.setdefault(id(_rule.target), []).append(_rule)
_SUSPECT_NAMES = {rule.target.__name__ for rule in RULES} | set(CLOCK_METHODS)
_NAMED = (FunctionType, BuiltinMethodType, MethodDescriptorType, MethodType, type)
_TOOL_NAME = "taktora escape guard"


class Watch(Protocol):
    """Something that is in force between ``install`` and ``remove``."""

    def install(self) -> None:
        """Begin."""
        ...

    def remove(self) -> None:
        """End, and leave nothing behind."""
        ...


def make_watches(watching: Watching, scopes: ScopeMap, report: Report, virtual: Names) -> list[Watch]:
    """Return what is to be installed, in order.

    Args:
        watching: The way; ``auto`` takes the best that this Python has at a bearable price.
        scopes: Says whose code is watched.
        report: Told of each escape.
        virtual: What project code is to see in place of the real thing, by module and name.

    Raises:
        ValueError: no such way, or ``monitoring`` before Python 3.12.
    """
    if watching == "auto":
        watching = "monitoring" if sys.version_info >= (3, 12) else "imports"
    if watching == "monitoring" and sys.version_info < (3, 12):
        msg = "watching='monitoring' needs Python 3.12 or later; use 'profile' or 'imports'"
        raise ValueError(msg)
    if watching == "imports":
        return [_Imports(scopes, report, virtual)]
    kinds: dict[str, Callable[[ScopeMap, Report], Watch]] = {"monitoring": _Monitoring, "profile": _Profile}
    if watching not in kinds:
        msg = f"watching={watching!r} is unknown; valid: auto, monitoring, profile, imports"
        raise ValueError(msg)
    return [StandIns(scopes, virtual), kinds[watching](scopes, report)]


def _find_rule(called: Any, first: Any, missing: object) -> Rule | None:
    """Return the rule for a call, or None for a harmless one. Ids are safe: every target lives as long as the process.

    Args:
        called: The callable.
        first: Its first argument, ``missing`` if there is none.
        missing: What stands for no argument.
    """
    kind = type(called)
    if kind is MethodType:
        first, called = called.__self__, called.__func__
    elif kind is functools.partial:
        called = called.func
    rules = _RULES_BY_ID.get(id(called))
    if rules is None and kind is FunctionType:  # a replacement of world.foreign_threads() is what it stands for
        rules = _RULES_BY_ID.get(id(getattr(called, "__wrapped__", None)))
    if rules is None:
        return _find_clock_method(called) if kind is BuiltinMethodType else None
    owner = called.__self__ if kind is BuiltinMethodType else first
    return next((rule for rule in rules if _applies(rule, owner, has_arguments=first is not missing)), None)


def _applies(rule: Rule, owner: object, *, has_arguments: bool) -> bool:
    if rule.only_self is not None:
        return owner is rule.only_self
    return not (rule.bare and has_arguments)


def _find_clock_method(called: Any) -> Rule | None:
    rule = CLOCK_METHODS.get(called.__name__)
    owner = called.__self__
    return rule if rule is not None and isinstance(owner, type) and issubclass(owner, dt.date) else None


class _Monitoring:
    """Call events of ``sys.monitoring``; the interpreter forgets the call sites that are of no interest."""

    def __init__(self, scopes: ScopeMap, report: Report) -> None:
        self._scopes = scopes
        self._report = report
        self._tool = -1

    def install(self) -> None:
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        self._tool = next((tool for tool in (4, 3, 5, 2) if monitoring.get_tool(tool) is None), -1)
        if self._tool < 0:
            msg = "no tool number of sys.monitoring is free for the escape guard; use watching='profile'"
            raise RuntimeError(msg)
        monitoring.use_tool_id(self._tool, _TOOL_NAME)
        monitoring.register_callback(self._tool, monitoring.events.CALL, self._make_callback())
        monitoring.set_events(self._tool, monitoring.events.CALL)
        # Call sites switched off by an earlier run are to be seen again.
        monitoring.restart_events()

    def remove(self) -> None:
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        monitoring.set_events(self._tool, 0)
        monitoring.register_callback(self._tool, monitoring.events.CALL, None)
        monitoring.free_tool_id(self._tool)
        self._tool = -1

    def _make_callback(self) -> Callable[[CodeType, int, Any, Any], Any]:
        monitoring = sys.monitoring  # type: ignore[attr-defined,unused-ignore]
        disable, missing, scopes, report = monitoring.DISABLE, monitoring.MISSING, self._scopes, self._report

        def on_call(code: CodeType, offset: int, called: Any, first: Any) -> Any:
            scope = scopes[code.co_filename]
            if scope is Scope.EXEMPT:
                return disable
            rule = _find_rule(called, first, missing)
            if rule is None:
                return disable if scope is Scope.FRAMEWORK or _is_called_by_its_name(code, called) else None
            report(rule, code.co_filename, _line_of(code, offset))
            return None

        return on_call


def _is_called_by_its_name(code: CodeType, called: Any) -> bool:
    """Return whether a call site may be forgotten: it calls, by name, what can be nothing else under that name.

    A variable or parameter that holds a function has a name of its own, so such a call site stays watched.
    """
    name = called.__name__ if isinstance(called, _NAMED) else ""
    return name in code.co_names and name not in _SUSPECT_NAMES


def _line_of(code: CodeType, offset: int) -> int:
    lines = (line for start, end, line in code.co_lines() if start <= offset < end and line is not None)
    return next(lines, code.co_firstlineno)


class _Profile:
    """``sys.setprofile``: C calls by their caller's frame, Python calls by the frame before their own."""

    def __init__(self, scopes: ScopeMap, report: Report) -> None:
        self._scopes = scopes
        self._report = report
        self._before: Any = None
        self._rules_by_code: dict[int, list[Rule]] = {}
        for rule in RULES:
            if (code := _entry_code(rule)) is not None:
                self._rules_by_code.setdefault(id(code), []).append(rule)

    def install(self) -> None:
        self._before = sys.getprofile()
        sys.setprofile(self._on_event)

    def remove(self) -> None:
        sys.setprofile(self._before)

    def _on_event(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "c_call":
            file = frame.f_code.co_filename
            if self._scopes[file] is not Scope.EXEMPT and (rule := _find_rule(called, _UNKNOWN, None)) is not None:
                self._report(rule, file, frame.f_lineno)
        elif event == "call" and (rules := self._rules_by_code.get(id(frame.f_code))) is not None:
            self._on_python_call(rules, frame)

    def _on_python_call(self, rules: list[Rule], frame: FrameType) -> None:
        caller = frame.f_back
        if caller is None or self._scopes[caller.f_code.co_filename] is Scope.EXEMPT:
            return
        owner = frame.f_locals.get("self")
        rule = next((rule for rule in rules if _applies(rule, owner, has_arguments=True)), None)
        if rule is not None:
            self._report(rule, caller.f_code.co_filename, caller.f_lineno)


_UNKNOWN = object()
"""First argument of a C call, which a profile function is not told."""


def _entry_code(rule: Rule) -> CodeType | None:
    """Return the code that begins when the target of ``rule`` is called; None for C and for inherited constructors."""
    target = vars(rule.target).get("__init__") if isinstance(rule.target, type) else rule.target
    return getattr(target, "__code__", None)


class _Imports:
    """Stand-ins in project modules that report and then call the real thing; ``Thread.start`` looks at its caller."""

    def __init__(self, scopes: ScopeMap, report: Report, virtual: Names) -> None:
        self._scopes = scopes
        self._report = report
        replaced = self._replaced()
        for module, names in virtual.items():
            replaced.setdefault(module, {}).update(names)
        self._stand_ins = StandIns(scopes, replaced)
        self._start = threading.Thread.start

    def install(self) -> None:
        start = self._start = threading.Thread.start
        rule = _RULES_BY_ID[id(start)][0]

        @functools.wraps(start)
        def watched(thread: threading.Thread) -> None:
            self._tell(rule, sys._getframe(1))  # noqa: SLF001 - whose call it is decides
            start(thread)

        threading.Thread.start = watched  # type: ignore[method-assign, assignment]
        self._stand_ins.install()

    def remove(self) -> None:
        self._stand_ins.remove()
        threading.Thread.start = self._start  # type: ignore[method-assign]

    def _tell(self, rule: Rule, frame: FrameType) -> None:
        if self._scopes[frame.f_code.co_filename] is not Scope.EXEMPT:
            self._report(rule, frame.f_code.co_filename, frame.f_lineno)

    def _replaced(self) -> dict[str, dict[str, Any]]:
        replaced: dict[str, dict[str, Any]] = {"datetime": self._clock_classes()}
        for rule in RULES:
            module, _, name = rule.name.removesuffix("()").rpartition(".")
            if module in sys.modules:
                real = getattr(sys.modules[module], name)
                replaced.setdefault(module, {})[name] = self._reporting(rule, real, sys.modules[module])
        return replaced

    def _clock_classes(self) -> dict[str, type]:
        return {kind.__name__: look_alike(kind, **self._clock_methods(kind)) for kind in (dt.datetime, dt.date)}

    def _clock_methods(self, kind: type) -> dict[str, Any]:
        return {
            name: staticmethod(self._reporting(rule, getattr(kind, name)))
            for name, rule in CLOCK_METHODS.items()
            if hasattr(kind, name)
        }

    def _reporting(self, rule: Rule, real: Any, module: ModuleType | None = None) -> Any:
        def tell(*arguments: Any, **named: Any) -> None:
            if not (rule.bare and (arguments or named)):
                self._tell(rule, sys._getframe(2))  # noqa: SLF001 - whose call it is decides

        def stand_in(*arguments: Any, **named: Any) -> Any:
            tell(*arguments, **named)
            # What the module holds now: inside world.foreign_threads() that is the virtual one.
            function = real if module is None else getattr(module, real.__name__, real)
            return function(*arguments, **named)

        return look_alike(real, before=tell) if isinstance(real, type) else stand_in
