"""What a python-can program may say when it opens a simulated bus, and how a wrong word is answered."""

from __future__ import annotations

import ast
import logging
from collections.abc import Iterator
from pathlib import Path

import can
import pytest

from taktora_sim.can.backend import bus_of
from taktora_sim.can.python_can.options import OF_OTHER_INTERFACES
from taktora_sim.world import World

pytestmark = pytest.mark.verifies("REQ_8203")


@pytest.fixture
def world() -> Iterator[World]:
    with World(1) as made, made.as_current():
        yield made


@pytest.fixture(autouse=True)
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The one configuration file that python-can reads."""
    path = tmp_path / "can.ini"
    monkeypatch.setattr(can.util, "CONFIG_FILES", [str(path)])
    for name in ("CAN_INTERFACE", "CAN_CHANNEL", "CAN_BITRATE", "CAN_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return path


def _open(**more: object) -> can.BusABC:
    return can.Bus(interface="taktora_sim", **more)  # type: ignore[arg-type]


def _refusal(**more: object) -> str:
    with pytest.raises(can.CanInitializationError) as refused:
        _open(**more)
    return str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [
        ("chanel", "channel"),
        ("bitrat", "bitrate"),
        ("recieve_own_messages", "receive_own_messages"),
        ("filters", "can_filters"),
    ],
)
def test_a_misspelt_option_is_refused_with_the_one_that_was_meant(world: World, wrong: str, meant: str) -> None:
    words = _refusal(**{wrong: "vcan7"})

    assert words.startswith(
        f"interface taktora_sim has no option {wrong!r}; did you mean {meant!r}? it has acknowledge, "
    )
    assert not world.faults.catalogue()


def test_an_option_that_is_near_to_nothing_is_refused_with_those_that_there_are(world: World) -> None:
    words = _refusal(zzz=1)

    assert words.startswith(
        "interface taktora_sim has no option 'zzz'; it has acknowledge, bitrate, can_filters, channel, "
    )
    assert words.endswith(" receive_own_messages, rx_queue_size, timing, txqueuelen")


def test_all_that_python_can_hands_to_every_interface_is_taken(world: World) -> None:
    bus = _open(
        channel="vcan7",
        config_context="tool",
        can_filters=[{"can_id": 1, "can_mask": 0x7FF}],
        receive_own_messages=True,
        local_loopback=False,
        ignore_rx_error_frames=True,
        fd=False,
        bitrate=250_000,
        state="ACTIVE",
        f_clock=8_000_000,
        brp=1,
    )

    with bus:
        assert bus_of(world, "vcan7").bitrate == 250_000


def test_options_of_other_interfaces_are_left_out_and_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "can.taktora_sim")

    with _open(channel="vcan7", app_name="CANoe", serial=1234, driver_mode=1):
        assert world.faults.catalogue()

    [record] = caplog.records
    assert record.getMessage() == "not used by interface taktora_sim: app_name, driver_mode, serial"


def _options_of_other_interfaces() -> set[str]:
    """Return what the interfaces of the installed python-can take when they are made."""
    folder, names = Path(can.__file__).parent / "interfaces", set[str]()
    for path in folder.rglob("*.py"):
        kinds = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ClassDef)]
        for kind in kinds:
            for made in kind.body:
                if kind.name.endswith("Bus") and isinstance(made, ast.FunctionDef) and made.name == "__init__":
                    names.update(argument.arg for argument in (*made.args.args, *made.args.kwonlyargs))
    return names - {"self"}


def test_the_options_of_all_interfaces_of_python_can_are_known(world: World) -> None:
    others = _options_of_other_interfaces()

    assert {"app_name", "rx_fifo_size", "ttyBaudrate"} < others
    with _open(ignore_config=True, **dict.fromkeys(others & OF_OTHER_INTERFACES, 0)):
        assert others - OF_OTHER_INTERFACES <= {
            *("bitrate", "can_filters", "channel", "data_bitrate", "fd", "ignore_rx_error_frames", "listen_only"),
            *("local_loopback", "receive_own_messages", "rx_queue_size", "timing"),
        }


def test_a_configuration_file_shared_with_other_interfaces_does_no_harm(world: World, settings: Path) -> None:
    settings.write_text("[default]\nchannel = vcan7\nbitrate = 250000\nmy_gadget_port = 7\n[lab]\nGadgetMode = fast\n")

    with _open(), _open(config_context="lab"):
        assert bus_of(world, "vcan7").bitrate == 250_000


def test_the_environment_shared_with_other_interfaces_does_no_harm(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAN_CONFIG", '{"my_gadget_port": 7}')
    monkeypatch.setenv("CAN_CONFIG_LAB", '{"gadget_mode": "fast"}')
    monkeypatch.setitem(can.rc, "gadget", "x")

    with _open(channel="vcan7", config_context="LAB"):
        assert bus_of(world, "vcan7").bitrate == 500_000


def test_what_is_misspelt_in_a_shared_configuration_file_is_warned_of(
    world: World, settings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    settings.write_text("[default]\nchannel = vcan7\nbitrat = 250000\n")

    with _open():
        assert bus_of(world, "vcan7").bitrate == 500_000

    assert [record.getMessage() for record in caplog.records] == [
        "option 'bitrat' of python-can's configuration is not used by interface taktora_sim; did you mean 'bitrate'?"
    ]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"channel": "a name far too long"}, "has ' ' at position 1"),
        ({"channel": "vcan0123456789012"}, "the kernel allows 15"),
        ({"channel": "vcan7", "bitrate": 7}, "bitrate 7 is outside"),
        ({"channel": "vcan7", "txqueuelen": 0}, "txqueuelen 0 is outside 1..100000"),
    ],
)
def test_a_wrong_value_is_an_error_of_python_can(world: World, options: dict[str, object], words: str) -> None:
    assert words in _refusal(**options)
    with pytest.raises(ValueError, match=words):
        _open(**options)


def test_a_wrong_channel_name_outside_a_world_is_an_error_of_python_can() -> None:
    assert "CAN interface name 'a b' has ' '" in _refusal(channel="a b")
