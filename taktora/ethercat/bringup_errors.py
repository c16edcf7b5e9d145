"""The sentences in which a MainDevice says why a bring-up failed: one wording for the real one and the simulated one.

Each names the thing, what was found and what was expected, the place, and the way out (REQ_8510). They build errors;
they raise nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

from taktora.errors import StackError
from taktora.ethercat.coe import abort_text
from taktora.ethercat.driver import AlState, SubDeviceState
from taktora.ethercat.pdo import ExpectedIdentity, SubDeviceMap

__all__ = [
    "identity_text",
    "no_answer",
    "no_distributed_clock",
    "no_frame",
    "sdo_failed",
    "state_not_reached",
    "wrong_alias",
    "wrong_count",
    "wrong_identity",
    "wrong_size",
]


def identity_text(identity: ExpectedIdentity) -> str:
    """Return ``vendor 0x00000002, product 0x07D43052, revision 0x00100000``; what may be anything is left out."""
    parts = [f"vendor 0x{identity.vendor_id:08X}", f"product 0x{identity.product_code:08X}"]
    parts += [f"revision 0x{identity.revision:08X}"] if identity.revision else []
    parts += [f"serial {identity.serial}"] if identity.serial else []
    return ", ".join(parts)


def no_answer(place: str) -> StackError:
    """No SubDevice answered the first broadcast on ``place`` (``interface 'eth1'``)."""
    return StackError(f"{place}: no SubDevice answers; expected at least one: check power, cable and that it is IN")


def wrong_count(place: str, expected: Sequence[SubDeviceMap], found: int) -> StackError:
    """The segment has more or fewer SubDevices than the machine file."""
    names = [sub.label for sub in expected]
    missing = f"; nobody at {', '.join(map(repr, names[found:]))}" if found < len(names) else ""
    return StackError(
        f"{place}: {found} SubDevices answer, expected {len(names)}{missing}; "
        "check power and cables behind the last one, or correct the machine file"
    )


# req: REQ_0838
def wrong_identity(
    position: int, sub: SubDeviceMap, found: ExpectedIdentity, others: Sequence[SubDeviceMap]
) -> StackError:
    """Another device stands at a position; says which one of ``others`` it looks like, so that a swap is seen."""
    expected = sub.identity
    twins = [other for other in others if other is not sub and _is(other.identity, found)]
    hint = f"; it looks like {twins[0].label!r}: check the order of the devices" if twins else ""
    shown = identity_text(expected) if expected else "any device"
    return StackError(
        f"position {position} ({sub.label!r}): found {identity_text(found)}, expected {shown}{hint or _OTHER_DEVICE}"
    )


# req: REQ_0838
def wrong_alias(position: int, sub: SubDeviceMap, found: int) -> StackError:
    """The station alias (register 0x0012) differs: two equal devices may have been swapped."""
    return StackError(
        f"position {position} ({sub.label!r}): found station alias {found}, expected {sub.station_alias}; "
        "check the order of the devices, the DIP switch, or correct station_alias"
    )


def wrong_size(
    position: int, sub: SubDeviceMap, what: str, found_bytes: int, expected_bytes: int, twin: str = ""
) -> StackError:
    """The device maps another amount of process data (``what``: outputs or inputs) than the machine file says.

    ``twin`` is an earlier device of the same identity, from which a MainDevice may have taken the amount.
    """
    limit = (
        f"; if they are right: SOEM reads no SII of a device with vendor, product and revision of an earlier one, "
        f"here {twin}; devices of one identity must have the same PDOs: on the rig give each kind a revision of its own"
    )
    return StackError(
        f"position {position} ({sub.label!r}): the device maps {found_bytes} bytes of {what}, expected "
        f"{expected_bytes}; correct its pdos in the machine file{limit if twin else ''}"
    )


def sdo_failed(sub: str, what: str, index: int, subindex: int, code: int) -> StackError:
    """An SDO transfer was aborted with ``code``; ``what`` is ``read`` or ``write``."""
    return StackError(
        f"SDO {what} of 0x{index:04X}:{subindex:02X} of {sub}: abort {abort_text(code)}; "
        "check index, type and value, and in which state the device takes it"
    )


def state_not_reached(
    asked: AlState, wanting: Sequence[tuple[SubDeviceMap | None, SubDeviceState, str]], waited_s: float
) -> StackError:
    """SubDevices did not reach ``asked``; each with the state shown and the text of its AL status code."""
    shown = [_state_text(*each) for each in wanting[:3]]
    more = f" and {len(wanting) - 3} more" if len(wanting) > 3 else ""
    return StackError(
        f"{asked.text} not reached within {waited_s:g} s: {'; '.join(shown)}{more}; the AL status code names the cause"
    )


def no_distributed_clock(place: str) -> StackError:
    """Distributed clocks were asked for and nobody has the unit."""
    return StackError(f"{place}: distributed_clocks is on and no SubDevice has a DC unit; switch it off")


def no_frame(place: str, waited_us: int) -> StackError:
    """A process-data frame did not come back."""
    return StackError(f"{place}: no frame came back within {waited_us / 1000:g} ms; check cable and power of the first")


_OTHER_DEVICE = "; put the right device there, or correct the machine file"


def _is(identity: ExpectedIdentity | None, found: ExpectedIdentity) -> bool:
    return identity is not None and (identity.vendor_id, identity.product_code) == (found.vendor_id, found.product_code)


def _state_text(sub: SubDeviceMap | None, state: SubDeviceState, cause: str) -> str:
    name = repr(sub.label) if sub is not None else "not in the machine file"
    shown = "does not answer" if state.state is AlState.NONE else f"is in {state.state.text}"
    code = f" with AL status 0x{state.al_status_code:04X} ({cause})" if state.has_error or state.al_status_code else ""
    return f"position {state.position} ({name}) {shown}{code}"
