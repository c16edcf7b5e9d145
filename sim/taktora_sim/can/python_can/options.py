"""Which options a python-can program may give: its interface's, those of others, those of a file; no python-can here.

python-can hands to an interface what the program says, and what stands in configuration files, environment and
``can.rc`` for whichever interface. A word that nobody knows is a misspelling where the program says it.
"""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches
from typing import Final, NamedTuple

__all__ = ["OF_OTHER_INTERFACES", "Options", "sort_options"]

# python-can reads these itself, and hands them on all the same
_READ_BEFORE = """
f_clock brp tseg1 tseg2 sjw nof_samples nom_brp nom_tseg1 nom_tseg2 nom_sjw data_brp data_tseg1 data_tseg2
data_sjw state
"""
# as of python-can 4.6
_DOCUMENTED = """
_testing accept_virtual address app_name auto_reset baudrate btr bus can_termination channel_index device
device_id device_number dll driver_mode exclusive extended fd_bitrate fd_non_iso flags frame_type group
hop_limit host index log_errors max_buffer monitor no_init_access no_samp operation_mode override_exclusive
override_library_name poll_interval port preserve_timestamps protocol rtscts rx_buffer_entries rx_fifo_size
serial single_handle sjw_abr sjw_dbr sleep_after_open ssp_dbr tcp_tune timeout tseg1_abr tseg1_dbr tseg2_abr
tseg2_dbr ttyBaudrate tty_baudrate tx_buffer_entries tx_fifo_size type_filter unique_hardware_id
use_system_timestamp
"""
OF_OTHER_INTERFACES: Final = frozenset(f"{_READ_BEFORE} {_DOCUMENTED}".split())
"""What other interfaces of python-can take: a program that was written for one of them says it here too."""


class Options(NamedTuple):
    """What is to be said of options that this interface does not have.

    Args:
        refusal: Why the bus is not opened; empty when it is.
        warnings: What probably is a misspelling in a configuration that other interfaces share.
        unused: Names of options that others have.
    """

    refusal: str
    warnings: tuple[str, ...]
    unused: tuple[str, ...]


def sort_options(given: Collection[str], own: Collection[str], configured: Collection[str]) -> Options:
    """Judge the options beyond ``own``.

    Args:
        given: Names that this interface does not have.
        own: Names that it has.
        configured: Names that stand in python-can's configuration, for whichever interface.
    """
    refusal, warnings, unused = "", list[str](), list[str]()
    for name in sorted(given):
        close = get_close_matches(name, own, n=1)
        meant = f"did you mean {close[0]!r}?" if close else ""
        if name in OF_OTHER_INTERFACES:
            unused.append(name)
        elif name not in configured:
            hint = f"{meant} it has" if meant else "it has"
            refusal = refusal or f"interface taktora_sim has no option {name!r}; {hint} {', '.join(sorted(own))}"
        elif meant:
            warnings.append(
                f"option {name!r} of python-can's configuration is not used by interface taktora_sim; {meant}"
            )
        else:
            unused.append(name)
    return Options(refusal, tuple(warnings), tuple(unused))
