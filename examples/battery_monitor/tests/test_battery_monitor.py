"""The unchanged application on the recorded drive, in virtual time: with faults, with seeds, with broken input."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path

import pytest
from logbook import DRIVE, Logbook
from messages import ContactorRequest, LimitReason

from taktora.traceability import Measure
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.faults import FaultEntry, FaultPlan
from taktora_sim.plan import ParamValue
from taktora_sim.play import PlayOptions, play
from taktora_sim.scenario import load_scenario
from taktora_sim.streams import Stream
from taktora_sim.world import World

MS = 1_000_000
S = 1_000 * MS
BMS = "can/vehicle/replay/BMS"

FAULTS: dict[str, tuple[str, dict[str, ParamValue]]] = {
    "silent": ("silence", {}),
    "frames get lost": ("drop", {}),
    "wrong checksum": ("corrupt_data", {"byte": 7, "mask": 1}),
    "wrong voltage": ("corrupt_data", {"byte": 1, "mask": 4}),
}


def one_second_of(fault: str, seed: int) -> FaultEntry:
    """Return a fault of 1 s that begins at a millisecond of the third second which the seed chooses."""
    kind, parameters = FAULTS[fault]
    at_ns = 2 * S + Stream(seed, "test/begin").integer(0, 999) * MS
    return FaultEntry(target=BMS, kind=kind, at_ns=at_ns, duration_ns=S, parameters=parameters)


@pytest.fixture(scope="module")
def whole_drive() -> Iterator[Logbook]:
    """The drive of 66 s without a fault."""
    with World(seed=1, name="drive") as world:
        logbook = Logbook(world)
        world.run_for(66 * S)
        yield logbook


@pytest.mark.verifies("BAT_0002")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_battery_stops_everything_within_250_ms(fault: str, seed: int, measure: Measure) -> None:
    entry = one_second_of(fault, seed)
    begin_ns = entry.at_ns or 0
    with World(seed, plan=FaultPlan.of(entry)) as world:
        logbook = Logbook(world)

        world.run_for(begin_ns + 300 * MS)

        last_good_ns = logbook.last_status_ns(begin_ns)
        before = logbook.commands_between(0, begin_ns)[-1].value
        first = next(each for each in logbook.commands if each.value.LimitReason is LimitReason.BATTERY_LOST)
        measure("reaction", (first.at_ns - last_good_ns) / MS, "ms", high=250)
        assert (before.DischargeLimit, before.ContactorRequest) == (400, ContactorRequest.KEEP_CLOSED)
        assert (first.value.DischargeLimit, first.value.ChargeLimit) == (0, 0)
        assert first.value.ContactorRequest is ContactorRequest.OPEN
        assert [alarm.code for alarm in logbook.alarms] == ["BATTERY_LOST"]


@pytest.mark.verifies("BAT_0002")
@pytest.mark.parametrize("fault", FAULTS)
def test_the_battery_is_trusted_again_after_a_second_of_good_frames(fault: str, measure: Measure) -> None:
    entry = one_second_of(fault, seed=5)
    over_ns = (entry.at_ns or 0) + S
    with World(plan=FaultPlan.of(entry)) as world:
        logbook = Logbook(world)

        world.run_for(over_ns + 2 * S)

        back = next(each for each in logbook.commands_between(over_ns, world.now_ns()) if each.value.DischargeLimit)
        measure("recovery", (back.at_ns - over_ns) / MS, "ms", low=980, high=1150)
        assert back.value.ContactorRequest is ContactorRequest.KEEP_CLOSED
        assert back.value.LimitReason is LimitReason.NONE


@pytest.mark.verifies("BAT_0002")
@pytest.mark.parametrize("seed", range(8))
def test_no_command_outlives_the_battery_whatever_goes_wrong(seed: int) -> None:
    campaign = Campaign(
        enabled=(f"{BMS}:silence", f"{BMS}:drop"), begin_ns=(S, 5 * S), duration_ns=(50 * MS, 2 * S), faults=(1, 3)
    )
    with World(seed=seed) as world:
        logbook = Logbook(world)
        plan = world.faults.propose(draw_plan(world, campaign))

        world.run_for(7 * S)

        late = [
            command
            for command in logbook.commands
            if command.at_ns - logbook.last_status_ns(command.at_ns) > 250 * MS
            and (command.value.DischargeLimit or command.value.ContactorRequest is not ContactorRequest.OPEN)
        ]
        assert late == [], plan.to_toml()


@pytest.mark.verifies("BAT_0001")
def test_limits_fall_and_the_fan_runs_while_the_battery_is_hot(whole_drive: Logbook) -> None:
    fast_charging = [each.value for each in whole_drive.commands_between(40 * S, 56 * S)]

    duties = [order.FanDuty for order in fast_charging]
    limits = [order.DischargeLimit for order in fast_charging]
    assert duties[0] == 0
    assert duties == sorted(duties)
    assert limits[0] == 400
    assert limits[-1] < 200
    assert {order.LimitReason for order in fast_charging} == {LimitReason.NONE, LimitReason.TEMPERATURE}


@pytest.mark.verifies("BAT_0001")
def test_no_limit_is_above_what_the_temperature_allows(whole_drive: Logbook) -> None:
    readings = whole_drive.temperatures
    excess_a = []
    for command in whole_drive.commands:
        known = bisect_right(readings, command.at_ns - MS, key=lambda seen: seen.at_ns)
        if known:
            allowed_a = 400 * (60 - readings[known - 1].value.CellTempMax) / 15
            excess_a.append(command.value.DischargeLimit - allowed_a)

    assert len(excess_a) > 650
    assert max(excess_a) <= 0


@pytest.mark.verifies("BAT_0003")
def test_a_weak_cell_is_found_once_and_named(whole_drive: Logbook) -> None:
    told = [alarm for alarm in whole_drive.alarms if alarm.code == "IMBALANCE"]

    above = [seen.at_ns for seen in whole_drive.cells if seen.value.CellVoltageMax - seen.value.CellVoltageMin > 60]
    assert len(told) == 1
    assert "cell 37" in told[0].text
    assert 0 <= told[0].at_ms - above[19] // MS <= 1


@pytest.mark.verifies("BAT_0001", "BAT_0003")
def test_a_battery_that_is_well_raises_no_alarm() -> None:
    with World() as world:
        logbook = Logbook(world)

        world.run_for(15 * S)

        assert logbook.alarms == []


@pytest.fixture
def damaged_log(tmp_path: Path) -> Path:
    """Three seconds of the drive; a torn line, a line that is no candump, a PackStatus of 2 bytes, time backwards."""
    lines = DRIVE.read_text().splitlines()[:660]
    numbers = [number for number, line in enumerate(lines) if " 180#" in line]
    late = lines[numbers[175]].replace(" 180#", " 666#")
    lines[numbers[150]] = lines[numbers[150]].split("#")[0] + "#0011"
    lines[numbers[160]] = lines[numbers[160]][:20]
    lines.insert(numbers[170], "this is no candump line")
    lines.insert(numbers[180], late)
    path = tmp_path / "damaged.log"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.verifies("BAT_0002")
def test_a_damaged_log_costs_only_its_bad_lines(damaged_log: Path) -> None:
    with World() as world:
        logbook = Logbook(world, damaged_log)

        world.run_for(int(2.9 * S))

        pack = logbook.reader("PackStatus")
        assert pack.decode_errors == 1
        assert pack.received == logbook.frames["PackStatus"] - 1
        assert logbook.unknown["666"] == 1
        assert logbook.log.counts == {"bad line": 2, "time goes backwards": 1}
        assert logbook.alarms == []
        assert logbook.commands[-1].value.DischargeLimit == 400


@pytest.mark.verifies("BAT_0001", "BAT_0002", "BAT_0003")
def test_the_main_job_says_that_all_three_hold() -> None:
    job = load_scenario(str(DRIVE.parent.parent / "scenario.py"))

    summary = play(job, PlayOptions(seed=3))

    assert summary.error == ""
    assert [(check.name[:8], check.ok) for check in summary.recorder.checks] == [
        ("BAT_0002", True),
        ("BAT_0001", True),
        ("BAT_0003", True),
    ]


@pytest.mark.verifies("BAT_0002")
def test_a_run_without_a_loss_proves_nothing_about_one() -> None:
    job = load_scenario(str(DRIVE.parent.parent / "scenario.py"))

    summary = play(job, PlayOptions(plan=FaultPlan()))

    check = summary.recorder.checks[0]
    assert (check.name[:8], check.ok, check.detail) == ("BAT_0002", False, "it was not lost in this run")
