"""Makes a simulated segment from the EtherCAT part of a machine file; it opens nothing but files that it names."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from taktora.errors import ConfigurationError
from taktora.ethercat.device_objects import build_dictionary
from taktora.ethercat.dictionary import ObjectDictionary, load_dictionary
from taktora.ethercat.network import DeviceSpec, EthercatBusSpec
from taktora.ethercat.sii import build_sii, parse_sii
from taktora_sim.ethercat.dcunit import DistributedClock
from taktora_sim.ethercat.devices.analog import AnalogInputs, AnalogOutputs
from taktora_sim.ethercat.devices.base import SimulatedDevice
from taktora_sim.ethercat.devices.coupler import Coupler
from taktora_sim.ethercat.devices.digital import DigitalInputs, DigitalOutputs
from taktora_sim.ethercat.devices.drive import Cia402Drive
from taktora_sim.ethercat.devices.generic import GenericDevice
from taktora_sim.ethercat.devices.options import check_names, number
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.subdevice import SubDevice

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["PROFILES", "build_device", "build_segment", "device_of", "profile_of"]

_FIRST_DEVICE_OBJECT: Final = 0x2000

D = TypeVar("D", bound=SimulatedDevice)

PROFILES: Final[dict[str, type[SimulatedDevice]]] = {
    kind.profile: kind
    for kind in (
        Coupler,
        DigitalInputs,
        DigitalOutputs,
        AnalogInputs,
        AnalogOutputs,
        Cia402Drive,
        GenericDevice,
    )
}
"""The device library by profile of the machine file."""


# req: REQ_8108, REQ_8152
def build_segment(
    world: World, name: str, spec: EthercatBusSpec, folder: Path = Path(), *, has_ring: bool = False
) -> SimulatedSegment:
    """Return the segment that ``spec`` describes, with every device powered and in INIT.

    Args:
        world: The World it lives in.
        name: Name of the bus; path ``ethercat/<name>``.
        spec: The bus of the machine file.
        folder: Where the machine file is: its SII images and dictionaries are found from there.
        has_ring: The last SubDevice is wired back to a second interface of the MainDevice.

    Raises:
        ConfigurationError: a file is missing or damaged, an option is wrong, the topology cannot be.
    """
    subdevices = [_subdevice(world, f"ethercat/{name}/{device.label}", device, folder) for device in spec.devices]
    return SimulatedSegment(world, name, subdevices, has_ring=has_ring)


def _subdevice(world: World, path: str, spec: DeviceSpec, folder: Path) -> SubDevice:
    made = SubDevice(world, path, spec, build_device(spec, folder), _sii(spec, folder))
    if spec.distributed_clock:
        made.set_window(DistributedClock(world, path, number(spec, "clock_drift_ppm", 0.0)))
    return made


def build_device(spec: DeviceSpec, folder: Path = Path()) -> SimulatedDevice:
    """Return the device of the library that ``spec`` asks for, not yet behind an ESC.

    Raises:
        ConfigurationError: the library has no such profile, or as :func:`build_segment`.
    """
    profile = profile_of(spec)
    if profile not in PROFILES:
        known = ", ".join(PROFILES)
        raise ConfigurationError(f"device {spec.label!r}: no profile {profile!r} in the device library; it has {known}")
    kind = PROFILES[profile]
    check_names(spec, kind.option_names)
    return kind(spec, None if spec.dictionary is None else _dictionary(spec, folder / spec.dictionary))


def profile_of(spec: DeviceSpec) -> str:
    """Return the profile of a device: that of the machine file, else by whether it has process data."""
    if spec.profile is not None:
        return spec.profile
    return "generic" if spec.pdos.rx or spec.pdos.tx or spec.mailbox else "coupler"


def device_of(segment: SimulatedSegment, label: str, kind: type[D]) -> D:
    """Return the device ``label`` of a segment, for scenarios and plants.

    Raises:
        ConfigurationError: there is none, or it is not a ``kind``.
    """
    labels = [subdevice.label for subdevice in segment.subdevices]
    if label not in labels:
        raise ConfigurationError(f"{segment.path} has no device {label!r}; it has {', '.join(labels)}")
    device = segment[label].application
    if not isinstance(device, kind):
        found, wanted = _with_article(type(device).__name__), _with_article(kind.__name__)
        msg = f"{segment.path}/{label} is {found}, not {wanted}"
        profile = getattr(kind, "profile", None)
        raise ConfigurationError(f"{msg}; set profile: {profile} in the machine file" if profile in PROFILES else msg)
    return device


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _dictionary(spec: DeviceSpec, path: Path) -> ObjectDictionary:
    """Return the dictionary of the file, with what a device needs and the file lacks from the description."""
    dictionary = load_dictionary(path)
    for found in build_dictionary(spec):
        if found.index not in dictionary:
            dictionary.objects[found.index] = found
        elif found.index >= _FIRST_DEVICE_OBJECT:
            for subindex, entry in found.entries.items():
                dictionary.ensure(found.index, subindex, found.name, entry)
    return dictionary


def _sii(spec: DeviceSpec, folder: Path) -> bytes:
    """Return the EEPROM image: the machine file's, as it is, else one made from the description."""
    if spec.sii is None:
        return build_sii(spec)
    path = folder / spec.sii
    try:
        image = path.read_bytes()
        parse_sii(image)
    except OSError as error:
        msg = f"device {spec.label!r}: {path} cannot be read ({error.strerror}); write it by a scan"
        raise ConfigurationError(msg) from error
    except ConfigurationError as error:
        raise ConfigurationError(f"device {spec.label!r}: {path}: {error}") from error
    return image
