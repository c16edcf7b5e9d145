"""What stands behind an EtherCAT bus in the real worlds."""

from __future__ import annotations

import builtins
import sys
from typing import Any

import pytest

from taktora.errors import ConfigurationError
from taktora.ethercat.backend import BusRequest, make_bus
from taktora.ethercat.network import EthercatBusSpec
from taktora.ethercat.options import BusPlan, EthercatConnectorOptions
from taktora.ethercat.pdo import SubDeviceMap
from taktora.ethercat.process import ProcessBus
from taktora.ethercat.soem import SoemDriver
from taktora.ethercat.soem_options import SoemOptions
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
        "a real EtherCAT bus needs pysoem, which is not installed: "
        "pip install 'taktora[ethercat]', or 'taktora[all]' for everything"
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
