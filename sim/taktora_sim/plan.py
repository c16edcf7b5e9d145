"""Fault plans: faults of a run as data that can be saved, read, replayed and drawn; a plan makes nothing happen itself.

A plan file is TOML or JSON, one table a fault::

    [[fault]]
    at = "3s"                          # or: frame = 100      or: milestone = "homed"
    target = "can/vehicle/replay/bms"
    kind = "silence"
    duration = "5s"                    # absent: to the end of the run
    parameters = { every = 3 }         # what the kind takes

Exactly one trigger a fault: an instant of virtual time, the n-th frame (or event) at the target, or a milestone that
the scenario announces. Times are texts with a unit, and exact; a bare number is refused, since nobody sees its unit.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from inspect import cleandoc
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec

from taktora.duration import format_duration, parse_duration
from taktora.errors import ConfigurationError

__all__ = ["FaultEntry", "FaultPlan", "FaultPlanError", "ParamValue"]

ParamValue: TypeAlias = bool | int | float | str


class FaultPlanError(ConfigurationError):
    """A fault plan was refused before the run; the message names file or entry, what was found and what is valid."""


class FaultEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault: when, where, what, how long.

    Args:
        target: Path of the component, as it registered itself.
        kind: One of the kinds that the component offers.
        at_ns: Trigger: instant of virtual time, 0 or more.
        frame: Trigger: number of the frame (or event) at the target, from 1.
        milestone: Trigger: name that the scenario announces; its first announcement counts.
        duration_ns: How long it lasts, above 0; None is to the end of the run (or at once, for a kind without end).
        parameters: Values for the kind's parameters; those left out take their defaults.

    Raises:
        ValueError: none or several triggers, or a number out of range.
    """

    target: str
    kind: str
    at_ns: int | None = None
    frame: int | None = None
    milestone: str | None = None
    duration_ns: int | None = None
    parameters: dict[str, ParamValue] = {}

    def __post_init__(self) -> None:
        given = [
            name for name, value in (("at", self.at_ns), ("frame", self.frame), ("milestone", self.milestone))
            if value is not None
        ]  # fmt: skip
        if len(given) != 1:
            msg = f"has {' and '.join(given) or 'no trigger'}; expected exactly one of at, frame, milestone"
            raise ValueError(msg)
        if self.at_ns is not None and self.at_ns < 0:
            msg = f"at is {self.at_ns} ns, before the run begins; expected 0 or more"
            raise ValueError(msg)
        if self.frame is not None and self.frame < 1:
            msg = f"frame is {self.frame}; frames are counted from 1"
            raise ValueError(msg)
        if self.duration_ns is not None and self.duration_ns <= 0:
            msg = f"duration is {self.duration_ns} ns, expected more than 0"
            raise ValueError(msg)
        for name, value in self.parameters.items():
            if isinstance(value, float) and not isfinite(value):
                msg = f"parameter {name!r} is {value}, expected a finite number"
                raise ValueError(msg)

    def trigger(self) -> str:
        """Return the trigger in words: ``at 3s``, ``at frame 100``, ``at milestone homed``."""
        if self.at_ns is not None:
            return f"at {format_duration(self.at_ns)}"
        return f"at frame {self.frame}" if self.frame is not None else f"at milestone {self.milestone}"


class PlanFault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault of a plan file; exactly one of at, frame and milestone says when it begins."""

    target: Annotated[str, msgspec.Meta(description="path of the component, for example can/vehicle/bms")]
    kind: Annotated[str, msgspec.Meta(description="one of the fault kinds that the component offers")]
    at: Annotated[str | None, msgspec.Meta(description='virtual time with its unit: "3s", "250ms"')] = None
    frame: Annotated[int, msgspec.Meta(description="number of the frame or event at the target", ge=1)] | None = None
    milestone: Annotated[str | None, msgspec.Meta(description="milestone that the scenario announces")] = None
    duration: Annotated[str | None, msgspec.Meta(description='how long: "5s"; absent: to the end of the run')] = None
    parameters: Annotated[dict[str, bool | int | float | str], msgspec.Meta(description="what the kind takes")] = {}

    def entry(self) -> FaultEntry:
        return FaultEntry(
            target=self.target,
            kind=self.kind,
            at_ns=_to_ns(self.at),
            frame=self.frame,
            milestone=self.milestone,
            duration_ns=_to_ns(self.duration),
            parameters=self.parameters,
        )


class PlanFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The faults of one simulated run."""

    about: Annotated[str, msgspec.Meta(description="what the plan is for, in words")] = ""
    fault: list[PlanFault] = []


# req: REQ_8007
class FaultPlan(msgspec.Struct, frozen=True):
    """The faults of one run, in the order in which those of one instant begin.

    Args:
        entries: The faults.
        about: What the plan is for, in words.
    """

    entries: tuple[FaultEntry, ...] = ()
    about: str = ""

    @classmethod
    def of(cls, *entries: FaultEntry, about: str = "") -> FaultPlan:
        """Return a plan of ``entries``."""
        return cls(entries, about)

    @classmethod
    def load(cls, path: Path) -> FaultPlan:
        """Read a plan file: TOML, or JSON if its name ends in ``.json``.

        Raises:
            FaultPlanError: the file is missing, no TOML or JSON, or no plan.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no UTF-8 text"
            msg = f"{path}: fault plan cannot be read ({why}); check the path and that it is UTF-8"
            raise FaultPlanError(msg) from error
        return cls.parse(text, str(path), is_json=path.suffix == ".json")

    @classmethod
    def parse(cls, text: str, source: str = "fault plan", *, is_json: bool = False) -> FaultPlan:
        """Read a plan from text; ``source`` is what errors call it.

        Raises:
            FaultPlanError: the text is no TOML or JSON, or no plan.
        """
        try:
            data = json.loads(text) if is_json else tomllib.loads(text)
        except ValueError as error:
            msg = f"{source}: no {'JSON' if is_json else 'TOML'}: {' '.join(str(error).split())}"
            raise FaultPlanError(msg) from error
        _refuse_bare_times(data, source)
        _refuse_plural(data, source)
        try:
            file = msgspec.convert(data, PlanFile)
        except msgspec.ValidationError as error:
            msg = f"{source}: {error}; see 'taktora sim schema' for what a plan holds"
            raise FaultPlanError(msg) from error
        return cls(tuple(_entries(file.fault, source)), file.about)

    def save(self, path: Path) -> None:
        """Write the plan, TOML or (name ends in ``.json``) JSON; ``load`` gives an equal plan back."""
        text = self.to_json() if path.suffix == ".json" else self.to_toml()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")

    def to_toml(self) -> str:
        """Return the text of a TOML plan file."""
        head = f"about = {_quote(self.about)}\n" if self.about else ""
        return head + "".join(_toml_table(entry) for entry in self.entries)

    def to_json(self) -> str:
        """Return the text of a JSON plan file; the same for equal plans."""
        data: dict[str, Any] = {"about": self.about} if self.about else {}
        data["fault"] = [_fields(entry) for entry in self.entries]
        return json.dumps(data, indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of a plan file."""
        schema: dict[str, Any] = _clean(json.loads(msgspec.json.encode(msgspec.json.schema(PlanFile))))
        schema["$defs"]["PlanFault"]["oneOf"] = [{"required": [name]} for name in ("at", "frame", "milestone")]
        return schema


def _to_ns(text: str | None) -> int | None:
    return None if text is None else parse_duration(text)


def _refuse_bare_times(data: Any, source: str) -> None:
    """Refuse a time without a unit with the way out; whatever else is wrong is left to the schema."""
    faults = data.get("fault") if isinstance(data, dict) else None
    for number, fault in enumerate(faults if isinstance(faults, list) else (), 1):
        for name in ("at", "duration"):
            value = fault.get(name) if isinstance(fault, dict) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                what = f"{fault.get('kind', '?')} at {fault.get('target', '?')}"
                msg = f"{source}: fault {number} ({what}): {name} = {value} has no unit"
                raise FaultPlanError(f'{msg}; write it as "{value}s" or "{value}ms"')


def _refuse_plural(data: Any, source: str) -> None:
    if isinstance(data, dict) and "faults" in data:
        raise FaultPlanError(f"{source}: unknown field 'faults'; did you mean 'fault'? each fault is a table [[fault]]")


def _entries(faults: Iterable[PlanFault], source: str) -> Iterable[FaultEntry]:
    for number, fault in enumerate(faults, 1):
        try:
            yield fault.entry()
        except ValueError as error:
            msg = f"{source}: fault {number} ({fault.kind} at {fault.target}): {error}"
            raise FaultPlanError(msg) from error


def _fields(entry: FaultEntry) -> dict[str, Any]:
    """Return the file's fields of an entry, without those that say nothing."""
    at = None if entry.at_ns is None else format_duration(entry.at_ns)
    duration = None if entry.duration_ns is None else format_duration(entry.duration_ns)
    fields = {
        "at": at,
        "frame": entry.frame,
        "milestone": entry.milestone,
        "target": entry.target,
        "kind": entry.kind,
        "duration": duration,
        "parameters": dict(sorted(entry.parameters.items())) or None,
    }
    return {name: value for name, value in fields.items() if value is not None}


def _toml_table(entry: FaultEntry) -> str:
    lines = [f"{name} = {_toml_value(value)}" for name, value in _fields(entry).items()]
    return "\n[[fault]]\n" + "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_quote(name)} = {_toml_value(each)}" for name, each in value.items()) + " }"
    if isinstance(value, str):
        return _quote(value)
    return json.dumps(value) if isinstance(value, bool) else repr(value)


def _quote(text: str) -> str:
    """Return a TOML basic string: JSON's escapes, and DEL, which TOML wants escaped too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _clean(node: Any) -> Any:
    """Return a schema that reads the same on every Python: 3.13 strips the indent of docstrings, older ones do not."""
    if isinstance(node, dict):
        return {key: _clean(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_clean(each) for each in node]
    return cleandoc(node) if isinstance(node, str) else node
