"""The fault board of a World: who offers which faults, what the plan starts and ends, what has fired; it draws nothing.

A component registers its fault kinds once::

    target = world.faults.target("can/vehicle/bms", kinds={
        "silence": FaultKind(start=mute, stop=unmute, describe="the sender goes silent"),
        "delay": FaultKind(start=slow_down, stop=catch_up, params={"by_ns": Param(int, low=1, unit="ns")},
                           describe="every frame is {by_ns} late"),
    })
    target.count()      # at each frame, before the component acts on it: a fault "at frame n" is active for frame n

``start`` and ``stop`` get the entry's parameters as one mapping, the same object both times. Faults may overlap; a
component that offers a kind with an end must bear two of them at once. Everything that fires is in the trace.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from string import Formatter
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeAlias

from simpy.events import URGENT

from taktora.duration import format_duration, parse_duration
from taktora.errors import ConfigurationError
from taktora_sim.plan import FaultEntry, FaultPlan, FaultPlanError, ParamValue

if TYPE_CHECKING:
    from taktora_sim.world import Timer, World

__all__ = ["FaultBoard", "FaultEntry", "FaultKind", "FaultPlan", "FaultPlanError", "FaultTarget", "FiredFault", "Param"]

Parameters: TypeAlias = Mapping[str, ParamValue]
_NO_PARAMETERS: Parameters = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Param:
    """What one parameter of a fault kind may be.

    Args:
        type: ``int``, ``float``, ``bool`` or ``str``; an int is accepted where a float is expected.
        default: Value when an entry leaves it out; None makes it mandatory.
        low: Smallest number; also the lower end of what a campaign draws.
        high: Largest number, likewise.
        choices: The values allowed, if only some are.
        unit: For people; with ``"ns"`` a plan may say ``"250ms"``.
        drawn: Smallest and largest number that a campaign draws, where that is less than what is allowed.
        check: Called with a value of the right type; raises ``ValueError`` that says what is expected.
    """

    type: type[ParamValue] = int
    default: ParamValue | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[ParamValue, ...] = ()
    unit: str = ""
    drawn: tuple[float, float] | None = None
    check: Callable[[Any], object] | None = None

    def accept(self, value: ParamValue) -> ParamValue:
        """Return ``value`` as the component gets it.

        Raises:
            ValueError: wrong type, out of range or not among the choices.
        """
        if isinstance(value, str) and self.unit == "ns" and self.type is int:
            value = parse_duration(value)
        if self.type is float and type(value) is int:
            value = float(value)
        if type(value) is not self.type:
            msg = f"is {value!r}, expected {self.expected()}"
            raise ValueError(msg)
        if not self._allows(value):
            msg = f"is {value!r}, expected {self.expected()}"
            raise ValueError(msg)
        if self.check is not None:
            try:
                self.check(value)
            except ValueError as error:
                msg = f"is {value!r}, expected {error}"
                raise ValueError(msg) from error
        return value

    def expected(self) -> str:
        """Return in words what is allowed."""
        if self.choices:
            return "one of " + ", ".join(repr(choice) for choice in self.choices)
        words = {int: "an integer", float: "a number", bool: "true or false", str: "a text in quotes"}[self.type]
        low = "" if self.low is None else f" from {self.low}"
        high = "" if self.high is None else f" up to {self.high}"
        return f"{words}{low}{high}{' ' + self.unit if self.unit else ''}"

    def _allows(self, value: ParamValue) -> bool:
        if self.choices and value not in self.choices:
            return False
        if isinstance(value, str):
            return True
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True, slots=True)
class FaultKind:
    """One way in which a component can fail.

    Args:
        start: Called when the fault begins, with the parameters.
        stop: Called when it ends, with the same mapping; None is a fault without end, over at once.
        params: Parameters by name: a :class:`Param`, or just the default value.
        describe: A sentence a user understands, without target and duration: a text with ``{parameter}`` in it, or a
            function of the parameters.
    """

    start: Callable[[Parameters], object]
    stop: Callable[[Parameters], object] | None = None
    params: Mapping[str, Param | ParamValue] = field(default_factory=dict)
    describe: str | Callable[[Parameters], str] = ""

    def __post_init__(self) -> None:
        text = self.describe if isinstance(self.describe, str) else ""
        for _literal, name, _spec, _conversion in Formatter().parse(text):
            if name is not None and name not in self.params:
                msg = f"fault description {text!r} names {name!r}, expected one of {', '.join(self.params) or 'none'}"
                raise ConfigurationError(msg)

    def param(self, name: str) -> Param:
        """Return what the parameter ``name`` may be."""
        param = self.params[name]
        return param if isinstance(param, Param) else Param(type(param), param)

    def complete(self, given: Parameters) -> Parameters:
        """Return ``given`` checked and completed with the defaults, in the kind's order.

        Raises:
            ValueError: an unknown or missing parameter, or a value that is not allowed.
        """
        for name in given:
            if name not in self.params:
                msg = f"has no parameter {name!r}; {_valid(name, list(self.params))}"
                raise ValueError(msg)
        return MappingProxyType({name: self._value(name, given) for name in self.params})

    def _value(self, name: str, given: Parameters) -> ParamValue:
        param = self.param(name)
        value = given.get(name, param.default)
        if value is None:
            msg = f"needs the parameter {name!r}, {param.expected()}"
            raise ValueError(msg)
        try:
            return param.accept(value)
        except ValueError as error:
            msg = f"parameter {name!r} {error}"
            raise ValueError(msg) from error

    def sentence(self, parameters: Parameters) -> str:
        """Return what happens, in words; empty when the kind has none. Parameters in ns read like ``20ms``."""
        if not isinstance(self.describe, str):
            return self.describe(parameters)
        return self.describe.format_map({name: self._in_words(name, value) for name, value in parameters.items()})

    def _in_words(self, name: str, value: ParamValue) -> ParamValue:
        is_time = self.param(name).unit == "ns" and isinstance(value, int)
        return format_duration(int(value)) if is_time else value


class FaultTarget:
    """A component that can fail; returned by ``FaultBoard.target``."""

    def __init__(self, board: FaultBoard, path: str, kinds: Mapping[str, FaultKind]) -> None:
        self.path = path
        self.kinds = dict(kinds)
        self.counted = 0
        """Frames or events counted so far."""
        self._board = board
        self._waiting: dict[int, list[_Armed]] = {}

    def count(self) -> None:
        """Count one frame (or event); a fault that waits for this number starts before the call returns."""
        self.counted += 1
        if self._waiting:
            for armed in self._waiting.pop(self.counted, ()):
                armed.start()

    def _wait_for(self, number: int, armed: _Armed) -> None:
        self._waiting.setdefault(number, []).append(armed)


@dataclass(slots=True)
class FiredFault:
    """One fault that has begun.

    Args:
        number: Its place in the plan, from 1; 0 for one that a scenario injected by hand.
        entry: What the plan says.
        sentence: What it does, in words.
        started_ns: When it began.
        ended_ns: When it ended; None while it lasts.
        used_up_ns: When it had its last effect although it lasts on, as after so many ``times``; None: no such instant.
    """

    number: int
    entry: FaultEntry
    sentence: str
    started_ns: int
    ended_ns: int | None = None
    used_up_ns: int | None = None

    @property
    def over_ns(self) -> int | None:
        """When its effects were over: used up or ended; None while there may be more."""
        return self.ended_ns if self.used_up_ns is None else self.used_up_ns


class _Armed:
    """One entry of the plan, checked and waiting, under way, or over."""

    def __init__(self, board: FaultBoard, number: int, entry: FaultEntry) -> None:
        self._board = board
        self._world = board.world
        self._target, self._kind, self._parameters = board.resolve(entry)
        self._record = self._world.trace.channel(entry.target, "fault")
        self._end_timer: Timer | None = None
        self.number = number
        self.entry = entry
        self.fired: FiredFault | None = None

    def wait(self) -> None:
        entry = self.entry
        if entry.at_ns is not None:
            self._world.call_at(entry.at_ns, self.start, URGENT)
        elif entry.frame is not None:
            self._target._wait_for(entry.frame, self)  # noqa: SLF001 - the board's own bookkeeping in its target

    def start(self) -> None:
        entry, now_ns = self.entry, self._world.now_ns()
        self._note("start")
        self.fired = FiredFault(self.number, entry, self._board.sentence(entry), now_ns)
        self._board.fired.append(self.fired)
        if self._kind.stop is not None:
            self._board.note_running(self._parameters, self.fired)
        self._kind.start(self._parameters)
        if self._kind.stop is None:
            self.fired.ended_ns = now_ns
        elif entry.duration_ns is not None:
            self._end_timer = self._world.call_at(now_ns + entry.duration_ns, self.end, URGENT)

    def end(self) -> None:
        """End the fault; nothing happens if it has not begun or is over."""
        if self.fired is None or self.fired.ended_ns is not None or self._kind.stop is None:
            return
        if self._end_timer is not None:
            self._end_timer.cancel()
        self._note("end")
        self.fired.ended_ns = self._world.now_ns()
        self._kind.stop(self._parameters)

    def _note(self, phase: str) -> None:
        self._record(f"{phase} {self.number} {self.entry.kind}".encode())


# req: REQ_8007
class FaultBoard:
    """Where components offer faults and the plan applies them; one a World."""

    def __init__(self, world: World, plan: FaultPlan | None = None) -> None:
        self.world = world
        self.plan = plan if plan is not None else FaultPlan()
        """The plan of this run."""
        self.was_given = plan is not None
        """Whether the plan came with the World; otherwise a scenario may propose one."""
        self.fired: list[FiredFault] = []
        """Faults that have begun, in order."""
        self.hints: list[Callable[[str], str]] = []
        """Asked for a path that nobody offers; each returns a sentence on what would offer it, or an empty text."""
        self._targets: dict[str, FaultTarget] = {}
        self._armed: list[_Armed] = []
        self._running: list[tuple[Parameters, FiredFault]] = []
        self._on_milestone: dict[str, list[_Armed]] = {}
        self._is_armed = False

    def target(self, path: str, kinds: Mapping[str, FaultKind]) -> FaultTarget:
        """Register the component ``path`` with its fault kinds.

        Raises:
            ConfigurationError: the path is taken.
        """
        if path in self._targets:
            msg = f"fault target {path!r} is registered twice; give each component a path of its own"
            raise ConfigurationError(msg)
        target = self._targets[path] = FaultTarget(self, path, kinds)
        return target

    def catalogue(self) -> dict[str, dict[str, FaultKind]]:
        """Return every target with its kinds, sorted by path."""
        return {path: dict(self._targets[path].kinds) for path in sorted(self._targets)}

    # req: REQ_8008
    def propose(self, plan: FaultPlan) -> FaultPlan:
        """Use ``plan`` unless the World was given one, and return the plan of this run.

        Raises:
            FaultPlanError: the run has begun.
        """
        if self._is_armed:
            msg = "a fault plan was proposed after the first step; a run takes its faults from a plan drawn before it"
            raise FaultPlanError(msg)
        if not self.was_given:
            self.plan = plan
        return self.plan

    def arm(self) -> None:
        """Check the plan against the registered targets and let its triggers wait; the World's first step does it.

        Raises:
            FaultPlanError: entries that name unknown targets, kinds or parameters; all of them are listed.
        """
        if self._is_armed:
            return
        self.check(self.plan)
        self._is_armed = True
        if self.plan.entries:
            self.world.trace.channel("world", "plan")(self.plan.to_json().encode())
        for number, entry in enumerate(self.plan.entries, 1):
            armed = _Armed(self, number, entry)
            self._armed.append(armed)
            armed.wait()
            if entry.milestone is not None:
                self._on_milestone.setdefault(entry.milestone, []).append(armed)

    def check(self, plan: FaultPlan) -> None:
        """Check every entry of ``plan`` against what is registered.

        Raises:
            FaultPlanError: with one line for each entry that does not fit.
        """
        problems = [text for number, entry in enumerate(plan.entries, 1) if (text := self._problem(number, entry))]
        if problems:
            raise FaultPlanError("\n".join(problems))

    def on_milestone(self, name: str) -> None:
        """Start what waits for the milestone ``name``; called by ``World.milestone``."""
        for armed in self._on_milestone.pop(name, ()):
            armed.start()

    def inject(
        self, target: str, kind: str, duration_ns: int | None = None, parameters: Parameters = _NO_PARAMETERS
    ) -> Callable[[], None]:
        """Start a fault now, without a plan, and return the function that ends it.

        Raises:
            FaultPlanError: unknown target, kind or parameter.
        """
        now_ns = self.world.now_ns()
        entry = FaultEntry(target=target, kind=kind, at_ns=now_ns, duration_ns=duration_ns, parameters=dict(parameters))
        self.check(FaultPlan.of(entry))
        armed = _Armed(self, 0, entry)
        armed.start()
        return armed.end

    def note_running(self, parameters: Parameters, fired: FiredFault) -> None:
        """Keep which fault the ``parameters`` belong to; called when it begins."""
        self._running.append((parameters, fired))

    def use_up(self, parameters: Parameters) -> None:
        """Say that the fault with this mapping has had its last effect; it lasts on, and reports draw it to here."""
        for running, fired in self._running:
            if running is parameters and fired.used_up_ns is None:
                fired.used_up_ns = self.world.now_ns()

    def unfired(self) -> list[FaultEntry]:
        """Return the entries of the plan that have not begun."""
        return [armed.entry for armed in self._armed if armed.fired is None]

    def resolve(self, entry: FaultEntry) -> tuple[FaultTarget, FaultKind, Parameters]:
        """Return what an entry names.

        Raises:
            ValueError: it names something that is not there; the message lists what is.
        """
        target = self._targets.get(entry.target)
        if target is None:
            hint = next(filter(None, (ask(entry.target) for ask in self.hints)), "")
            msg = f"no such target; {hint or _valid(entry.target, sorted(self._targets))}"
            raise ValueError(msg)
        kind = target.kinds.get(entry.kind)
        if kind is None:
            msg = f"the target has no fault kind {entry.kind!r}; {_valid(entry.kind, list(target.kinds))}"
            raise ValueError(msg)
        if kind.stop is None and entry.duration_ns is not None:
            msg = f"fault kind {entry.kind!r} is over at once and takes no duration; leave it out"
            raise ValueError(msg)
        return target, kind, kind.complete(entry.parameters)

    def sentence(self, entry: FaultEntry) -> str:
        """Return what an entry does, in words, with target and duration."""
        _target, kind, parameters = self.resolve(entry)
        what = kind.sentence(parameters) or entry.kind
        lasting = "" if entry.duration_ns is None else f" for {format_duration(entry.duration_ns)}"
        return f"{entry.target}: {what}{lasting}"

    def describe(self) -> list[str]:
        """Return the plan as sentences, one an entry: when, where, what, how long."""
        return [f"{entry.trigger()}, {self.sentence(entry)}" for entry in self.plan.entries]

    def _problem(self, number: int, entry: FaultEntry) -> str | None:
        try:
            self.resolve(entry)
        except ValueError as error:
            return f"fault {number} of the plan ({entry.kind} at {entry.target}): {error}"
        return None


def _valid(name: str, known: Sequence[str]) -> str:
    """Return the closing words of a refusal: the nearest name, and all that are valid."""
    close = get_close_matches(name, known, n=1, cutoff=0.5)
    nearest = f"did you mean {close[0]!r}? " if close else ""
    return f"{nearest}valid: {', '.join(known) or 'none'}"
