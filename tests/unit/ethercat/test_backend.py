"""What stands behind an EtherCAT bus in the real worlds."""

from __future__ import annotations

import builtins
import sys
from functools import partial
from typing import Any

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.backend import BusRequest, DriverSettings, make_bus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan, EthercatConnectorOptions
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.process import ProcessBus
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
from taktora.executor.attributes import ThreadAttributes
from taktora.runtime import Runtime

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="not run: the real driver needs Linux")


def request(**more: Any) -> BusRequest:
    options = EthercatConnectorOptions(pdo_map=(SubDeviceMap(address=0x1000, label="io", input_bits=8),))
    return BusRequest(bus="cell", node="app", options=options, spec=EthercatBusSpec(), **more)


@pytest.fixture
def runtime() -> Runtime:
    return Runtime.system(transport="inprocess")


@pytest.mark.verifies("REQ_0321")
def test_the_bus_has_the_layout_of_the_plan_and_is_not_started(runtime: Runtime) -> None:
    pytest.importorskip("pysoem", reason="not run: pysoem is not installed")

    bus = runtime.backend("ethercat")(runtime, request(interface="eth9"))

    assert isinstance(bus, ProcessBus)
    assert [place.label for place in bus.layout.subdevices] == ["io"]
    assert bus.pid is None


# What the bench file says goes before what the runtime has, and only what it says.
_RUNTIMES = SoemOptions(frame_timeout_us=3000, emergency_poll_cycles=7), ThreadAttributes(priority=30)


@pytest.mark.verifies("REQ_0321", "REQ_0041")
@pytest.mark.parametrize(
    ("driver", "soem", "attributes"),
    [
        pytest.param(DriverSettings(), *_RUNTIMES, id="nothing"),
        pytest.param(
            DriverSettings(priority=80, cpu=0),
            _RUNTIMES[0],
            ThreadAttributes(priority=80, affinity_mask=(0,)),
            id="thread",
        ),
        pytest.param(
            DriverSettings(mapping="sequential", frame_timeout_us=2000),
            SoemOptions(mapping="sequential", frame_timeout_us=2000, emergency_poll_cycles=7),
            _RUNTIMES[1],
            id="soem",
        ),
    ],
)
def test_settings_of_the_bench_file_reach_the_driver(
    runtime: Runtime, driver: DriverSettings, soem: SoemOptions, attributes: ThreadAttributes
) -> None:
    pytest.importorskip("pysoem", reason="not run: pysoem is not installed")

    bus = make_bus(runtime, request(interface="eth9", driver=driver), *_RUNTIMES)

    assert isinstance(bus, ProcessBus)
    make_driver = bus.setup.make_driver
    assert isinstance(make_driver, partial)
    assert make_driver.keywords == {"options": soem}
    assert bus.setup.attributes == attributes


@pytest.mark.verifies("REQ_0321", "REQ_8510")
@pytest.mark.parametrize(
    ("driver", "message"),
    [
        (DriverSettings(cpu=4096), r"cpu is 4096; this machine has the cores 0 to \d+; correct the bench file"),
        (DriverSettings(priority=100), "priority is 100, expected 1 to 99"),
        (DriverSettings(frame_timeout_us=1), "frame_timeout_us is 1; expected 100 to 1000000"),
    ],
)
def test_settings_that_cannot_be_name_the_bus(runtime: Runtime, driver: DriverSettings, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"EtherCAT bus 'cell': .*{message}"):
        make_bus(runtime, request(interface="eth9", driver=driver))


@pytest.mark.verifies("REQ_0325", "REQ_8510")
def test_a_bus_without_an_interface_says_where_to_write_one(runtime: Runtime) -> None:
    with pytest.raises(ConfigurationError, match=r"'cell' has no network interface; .*\[ethercat\.cell\]"):
        make_bus(runtime, request())


@pytest.mark.verifies("REQ_8510")
def test_a_simulated_bus_is_none_for_the_wall_clock(runtime: Runtime) -> None:
    with pytest.raises(ConfigurationError, match=r"'cell' is simulated by the bench file, .*use --world sim"):
        make_bus(runtime, request(simulated=True))


@pytest.mark.verifies("REQ_8510")
def test_a_missing_pysoem_names_the_extra(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    really_import = builtins.__import__

    def without_pysoem(name: str, *more: Any, **options: Any) -> Any:
        if name == "pysoem":
            raise ImportError(name)
        return really_import(name, *more, **options)

    monkeypatch.setattr(builtins, "__import__", without_pysoem)
    monkeypatch.delitem(sys.modules, "pysoem", raising=False)

    with pytest.raises(ConfigurationError) as caught:
        make_bus(runtime, request(interface="eth9"))

    assert str(caught.value) == (
        "a real EtherCAT bus needs the module pysoem, which is not installed: "
        "python -m pip install 'taktora[ethercat]', or 'taktora[all]' for everything"
    )


@pytest.mark.verifies("REQ_0325")
def test_a_driver_without_an_interface_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="a real EtherCAT bus needs a network interface"):
        SoemDriver(BusPlan(subdevices=()))


@pytest.mark.verifies("REQ_0321")
@pytest.mark.parametrize(
    ("setting", "value"), [("frame_timeout_us", 99), ("mapping", "packed"), ("emergency_poll_cycles", -1)]
)
def test_settings_of_soem_have_ranges(setting: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{setting} is {value!r}; expected"):
        SoemOptions(**{setting: value})
