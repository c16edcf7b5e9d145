"""Tests of the decisions about worlds and gates."""

from __future__ import annotations

import pytest

from taktora_hil.worlds import Needs, UnknownWorld, parse_worlds, why_not_run


@pytest.mark.verifies("REQ_8500")
@pytest.mark.parametrize(
    ("values", "worlds"),
    [
        (["sim"], ("sim",)),
        (["hil,sim"], ("sim", "hil")),
        (["rig", "sim", "rig"], ("sim", "rig")),
        (["hil, rig"], ("rig", "hil")),
    ],
)
def test_worlds_are_lists_or_repeated_and_keep_one_order(values: list[str], worlds: tuple[str, ...]) -> None:
    assert parse_worlds(values) == worlds


@pytest.mark.verifies("REQ_8500")
@pytest.mark.parametrize("value", ["moon", "", "sim,", "SIM"])
def test_another_name_is_refused_with_those_there_are(value: str) -> None:
    with pytest.raises(UnknownWorld, match=r"--world names the unknown world '.*'; there are sim, rig, hil"):
        parse_worlds([value])


@pytest.mark.verifies("REQ_8501")
@pytest.mark.parametrize(
    ("world", "gates", "environment", "reason"),
    [
        pytest.param("hil", ("CAN_TEST_IFACE",), {}, "not run: CAN_TEST_IFACE is not set", id="unset"),
        pytest.param(
            "hil", ("CAN_TEST_IFACE",), {"CAN_TEST_IFACE": ""}, "not run: CAN_TEST_IFACE is not set", id="empty"
        ),
        pytest.param("hil", ("A", "B"), {}, "not run: A and B are not set", id="two"),
        pytest.param("hil", ("CAN_TEST_IFACE",), {"CAN_TEST_IFACE": "can0"}, "", id="set"),
        pytest.param("sim", ("CAN_TEST_IFACE",), {}, "", id="gates count in hil only"),
        pytest.param("rig", (), {}, "not run: belongs to rig, but --world sim,hil was given", id="not selected"),
    ],
)
def test_a_test_runs_or_says_why_not(
    world: str, gates: tuple[str, ...], environment: dict[str, str], reason: str
) -> None:
    needs = Needs((world,), gates)

    assert why_not_run(world, ("sim", "hil"), needs, environment) == reason
