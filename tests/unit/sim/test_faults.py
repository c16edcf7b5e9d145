"""Fault plans and the board: data in files, checked against what components offer, applied on time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taktora.duration import format_duration, parse_duration
from taktora.errors import ConfigurationError
from taktora_sim.campaign import Campaign, draw_plan
from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan, FaultPlanError, FaultTarget, Param
from taktora_sim.world import World

MS = 1_000_000


class Sender:
    """A component with a fault of each sort; keeps what happens to it."""

    def __init__(self, world: World, path: str = "bus/sender") -> None:
        self.world = world
        self.log: list[tuple[int, str, dict[str, object]]] = []
        self.target: FaultTarget = world.faults.target(
            path,
            kinds={
                "silence": FaultKind(self._note("mute"), self._note("unmute"), describe="the sender is silent"),
                "delay": FaultKind(
                    self._note("slow"),
                    self._note("fast"),
                    params={"by_ns": Param(int, low=1, high=10**9, unit="ns"), "every": 1},
                    describe="every frame is {by_ns} late",
                ),
                "reset": FaultKind(self._note("reset"), describe="the sender restarts"),
                "noise": FaultKind(
                    self._note("loud"),
                    self._note("quiet"),
                    params={"level": Param(float, 0.5, 0, 1), "shape": Param(str, "white", choices=("white", "pink"))},
                ),
            },
        )

    def _note(self, what: str):  # type: ignore[no-untyped-def]  # noqa: ANN202 - a callback of the board
        def note(parameters: Mapping[str, object]) -> None:
            self.log.append((self.world.now_ns(), what, dict(parameters)))

        return note

    @property
    def moments(self) -> list[tuple[int, str]]:
        return [(at_ns, what) for at_ns, what, _ in self.log]


def entry(kind: str = "silence", **fields: object) -> FaultEntry:
    fields.setdefault("target", "bus/sender")
    if not {"at_ns", "frame", "milestone"} & set(fields):
        fields["at_ns"] = 5 * MS
    return FaultEntry(kind=kind, **fields)  # type: ignore[arg-type]


PLAN = FaultPlan.of(
    entry(at_ns=3_000 * MS, duration_ns=1_500 * MS),
    entry("delay", frame=100, parameters={"by_ns": 250 * MS, "every": 2}),
    entry("noise", milestone='homed "a\\b"', parameters={"level": 0.25, "shape": "pink"}),
    about="what: \u00fcmlaut, \x7f and 'quotes'",
)


@pytest.mark.parametrize("suffix", [".toml", ".json"])
@pytest.mark.verifies("REQ_8007")
def test_a_saved_plan_is_equal_to_the_one_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"plan{suffix}"

    PLAN.save(path)

    assert FaultPlan.load(path) == PLAN


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
values = st.one_of(st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False, allow_infinity=False), names)
triggers = st.one_of(
    st.fixed_dictionaries({"at_ns": st.integers(0, 10**18)}),
    st.fixed_dictionaries({"frame": st.integers(1, 10**9)}),
    st.fixed_dictionaries({"milestone": names}),
)
entries = st.builds(
    lambda trigger, target, kind, duration_ns, parameters: FaultEntry(
        target=target, kind=kind, duration_ns=duration_ns, parameters=parameters, **trigger
    ),
    triggers,
    names,
    names,
    st.none() | st.integers(1, 10**18),
    st.dictionaries(names, values, max_size=3),
)


@given(st.lists(entries, max_size=4), st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
@pytest.mark.verifies("REQ_8007")
def test_every_plan_survives_both_file_formats(faults: list[FaultEntry], about: str) -> None:
    plan = FaultPlan(tuple(faults), about)

    assert FaultPlan.parse(plan.to_toml()) == plan
    assert FaultPlan.parse(plan.to_json(), is_json=True) == plan


@given(st.integers(0, 2**63 - 1))
@pytest.mark.verifies("REQ_8007")
def test_durations_are_exact(time_ns: int) -> None:
    assert parse_duration(format_duration(time_ns)) == time_ns


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [("3s", 3_000 * MS), ("250ms", 250 * MS), ("1.5 s", 1_500 * MS), ("20us", 20_000), ("7ns", 7)],
)
@pytest.mark.verifies("REQ_8007")
def test_durations_are_written_as_people_do(text: str, time_ns: int) -> None:
    assert parse_duration(text) == time_ns


@pytest.mark.parametrize("text", ["", "10", "s", "-1s", "1.5ns", "0.0000000001s", "10 parsecs", "1e3s", "300000h0s"])
@pytest.mark.verifies("REQ_8007")
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|whole number"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[[fault]\n", "no TOML", id="syntax"),
        pytest.param("[[fault]]\nkind='k'\nat='1s'", "target", id="no-target"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'", "exactly one of at, frame, milestone", id="no-trigger"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='1s'\nframe=2", "has at and frame", id="two-triggers"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='soon'", "'soon' is no duration", id="bad-time"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='-1s'", "is no duration", id="negative-time"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nframe=0", ">= 1", id="frame-0"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='1s'\nduration='0s'", "more than 0", id="no-duration"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='1s'\nfor='1s'", "unknown field `for`", id="unknown-field"),
        pytest.param("[[faults]]\ntarget='t'\nkind='k'\nat='1s'", "'faults'; did you mean 'fault'", id="plural"),
        pytest.param("[[fault]]\ntarget='t'\nkind='k'\nat='1s'\nparameters={x=inf}", "finite", id="infinite"),
    ],
)
@pytest.mark.verifies("REQ_8007")
def test_a_bad_plan_file_is_refused_with_its_place(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)

    with pytest.raises(FaultPlanError, match=message) as caught:
        FaultPlan.load(path)

    assert str(path) in str(caught.value)


@pytest.mark.verifies("REQ_8007")
def test_a_missing_plan_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FaultPlanError, match=r"nowhere\.toml: fault plan cannot be read \(No such file or directory\)"):
        FaultPlan.load(tmp_path / "nowhere.toml")


@pytest.mark.verifies("REQ_8007")
def test_the_schema_names_every_field_of_a_plan_file() -> None:
    schema = FaultPlan.schema()

    fields = schema["$defs"]["PlanFault"]
    written = {name for fault in json.loads(PLAN.to_json())["fault"] for name in fault}
    assert written <= set(fields["properties"])
    assert fields["additionalProperties"] is False
    assert fields["oneOf"] == [{"required": ["at"]}, {"required": ["frame"]}, {"required": ["milestone"]}]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_begins_at_its_time_and_ends_after_its_duration() -> None:
    with World(plan=FaultPlan.of(entry(at_ns=5 * MS, duration_ns=2 * MS))) as world:
        sender = Sender(world)

        world.run_for(20 * MS)

        assert sender.moments == [(5 * MS, "mute"), (7 * MS, "unmute")]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_at_an_instant_is_active_for_what_else_happens_then() -> None:
    with World(plan=FaultPlan.of(entry(at_ns=5))) as world:
        seen: list[int] = []
        world.call_at(5, lambda: seen.append(len(sender.log)))
        sender = Sender(world)

        world.run_for(10)

        assert seen == [1]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_at_the_nth_frame_is_active_for_that_frame() -> None:
    with World(plan=FaultPlan.of(entry(frame=3, duration_ns=10))) as world:
        sender = Sender(world)
        world.start()
        active: list[int] = []
        for _ in range(5):
            sender.target.count()
            active.append(len(sender.log))

        assert active == [0, 0, 1, 1, 1]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_waits_for_its_milestone_and_takes_the_first() -> None:
    with World(plan=FaultPlan.of(entry("reset", milestone="homed"))) as world:
        sender = Sender(world)
        for at_ns, name in ((10, "started"), (20, "homed"), (30, "homed")):
            world.call_at(at_ns, lambda name=name: world.milestone(name))  # type: ignore[misc]

        world.run_for(100)

        assert sender.moments == [(20, "reset")]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_without_duration_lasts_to_the_end() -> None:
    with World(plan=FaultPlan.of(entry())) as world:
        sender = Sender(world)

        world.run_for(50 * MS)

        assert sender.moments == [(5 * MS, "mute")]
        assert world.faults.fired[0].ended_ns is None


@pytest.mark.verifies("REQ_8007")
def test_parameters_are_completed_and_reach_start_and_stop() -> None:
    with World(plan=FaultPlan.of(entry("delay", duration_ns=1, parameters={"by_ns": "20ms"}))) as world:
        sender = Sender(world)

        world.run_for(50 * MS)

        assert [parameters for _, _, parameters in sender.log] == [{"by_ns": 20 * MS, "every": 1}] * 2


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(entry(target="bus/sendr"), r"no such target; did you mean 'bus/sender'\? valid: .*", id="target"),
        pytest.param(
            entry("silense"),
            r"no fault kind 'silense'; did you mean 'silence'\? valid: silence, delay, reset, noise",
            id="kind",
        ),
        pytest.param(
            entry("delay", parameters={"by": 1}),
            r"has no parameter 'by'; did you mean 'by_ns'\? valid: by_ns, every",
            id="parameter",
        ),
        pytest.param(entry("delay"), "needs the parameter 'by_ns', an integer from 1 up to", id="missing"),
        pytest.param(entry("delay", parameters={"by_ns": 0}), "'by_ns' is 0, expected an integer from 1", id="low"),
        pytest.param(entry("delay", parameters={"by_ns": 10**10}), "up to 1000000000 ns", id="high"),
        pytest.param(entry("delay", parameters={"by_ns": True}), "is True, expected an integer", id="bool"),
        pytest.param(entry("delay", parameters={"by_ns": "soon"}), "'by_ns' 'soon' is no duration", id="text"),
        pytest.param(entry("noise", parameters={"shape": "red"}), "expected one of 'white', 'pink'", id="choice"),
        pytest.param(entry("reset", duration_ns=1), "is over at once and takes no duration", id="duration"),
    ],
)
@pytest.mark.verifies("REQ_8007")
def test_what_no_component_offers_is_refused_before_the_run(fault: FaultEntry, message: str) -> None:
    with World(plan=FaultPlan.of(entry(), fault)) as world:
        sender = Sender(world)

        with pytest.raises(FaultPlanError, match=message) as caught:
            world.run_for(1)

        assert str(caught.value).startswith(f"fault 2 of the plan ({fault.kind} at {fault.target}): ")
        assert sender.log == []


@pytest.mark.verifies("REQ_8007")
def test_all_bad_entries_are_reported_at_once() -> None:
    with World(plan=FaultPlan.of(entry("a"), entry("b"))) as world:
        Sender(world)

        with pytest.raises(FaultPlanError, match=r"(?s)fault 1 .*fault 2 "):
            world.run_for(1)


@pytest.mark.verifies("REQ_8007")
def test_firing_and_end_are_in_the_trace() -> None:
    def digest(plan: FaultPlan | None) -> str:
        with World(plan=plan) as world:
            Sender(world)
            world.run_for(20 * MS)
            return world.trace.component_hashes().get("bus/sender", "")

    same = [digest(FaultPlan.of(entry(duration_ns=2 * MS))) for _ in range(2)]

    assert same[0] == same[1]
    assert len({*same, digest(None), digest(FaultPlan.of(entry(duration_ns=3 * MS)))}) == 3


@pytest.mark.verifies("REQ_8007")
def test_describe_says_when_where_what_and_how_long() -> None:
    plan = FaultPlan.of(entry("delay", parameters={"by_ns": 20 * MS}, duration_ns=1_500 * MS), entry(frame=7))
    with World(plan=plan) as world:
        Sender(world)

        assert world.faults.describe() == [
            "at 5ms, bus/sender: every frame is 20ms late for 1.5s",
            "at frame 7, bus/sender: the sender is silent",
        ]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_that_never_began_is_told() -> None:
    with World(plan=FaultPlan.of(entry(), entry("reset", milestone="never"))) as world:
        Sender(world)

        world.run_for(10 * MS)

        assert [fault.kind for fault in world.faults.unfired()] == ["reset"]
        assert [fault.number for fault in world.faults.fired] == [1]


@pytest.mark.verifies("REQ_8007")
def test_a_fault_can_be_injected_and_ended_by_hand() -> None:
    with World() as world:
        sender = Sender(world)
        world.run_for(5)

        end = world.faults.inject("bus/sender", "silence", duration_ns=100)
        world.run_for(10)
        end()
        end()
        world.run_for(1_000)

        assert sender.moments == [(5, "mute"), (15, "unmute")]
        with pytest.raises(FaultPlanError, match="no fault kind 'silent'"):
            world.faults.inject("bus/sender", "silent")


@pytest.mark.verifies("REQ_8007")
def test_a_path_is_registered_once() -> None:
    with World() as world:
        Sender(world)

        with pytest.raises(ConfigurationError, match="'bus/sender' is registered twice"):
            Sender(world)


@pytest.mark.verifies("REQ_8007")
def test_a_description_that_names_no_parameter_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="names 'by', expected one of by_ns"):
        FaultKind(print, params={"by_ns": 1}, describe="late by {by}")


@pytest.mark.verifies("REQ_8008")
def test_a_campaign_draws_the_same_plan_from_the_same_seed() -> None:
    def draw(seed: int) -> FaultPlan:
        with World(seed) as world:
            Sender(world)
            return draw_plan(world, Campaign(faults=(3, 6)))

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)


@given(st.integers(0, 10**9))
@pytest.mark.verifies("REQ_8008")
def test_every_drawn_plan_is_valid_and_within_the_campaign(seed: int) -> None:
    campaign = Campaign(enabled=("bus/*:*",), faults=(2, 5), begin_ns=(10 * MS, 90 * MS), duration_ns=(1, 20 * MS))
    with World(seed) as world:
        Sender(world)
        Sender(world, "other/sender")

        plan = draw_plan(world, campaign)

        world.faults.check(plan)
        assert 2 <= len(plan.entries) <= 5
        assert all(fault.target == "bus/sender" for fault in plan.entries)
        assert all(10 * MS <= (fault.at_ns or 0) <= 90 * MS for fault in plan.entries)
        assert FaultPlan.parse(plan.to_toml()) == plan


@given(st.integers(0, 10**9))
@pytest.mark.verifies("REQ_8008")
def test_a_campaign_draws_within_what_a_parameter_says_is_worth_drawing(seed: int) -> None:
    kind = FaultKind(print, params={"every": Param(int, 1, 1, 1_000_000, drawn=(1, 4))})

    plan = draw_plan(seed, catalogue={"bus/sender": {"loss": kind}})

    assert all(1 <= int(fault.parameters["every"]) <= 4 for fault in plan.entries)


@pytest.mark.verifies("REQ_8007")
def test_a_parameter_with_a_check_of_its_own_is_refused_in_the_words_of_the_check() -> None:
    def is_even(value: int) -> None:
        if value % 2:
            raise ValueError("an even number")

    kind = FaultKind(print, params={"level": Param(int, 0, check=is_even)})

    assert kind.complete({"level": 4}) == {"level": 4}
    with pytest.raises(ValueError, match="parameter 'level' is 5, expected an even number"):
        kind.complete({"level": 5})


@pytest.mark.verifies("REQ_8008")
def test_the_run_takes_its_faults_from_the_plan_alone() -> None:
    def run(seed: int, plan: FaultPlan | None) -> list[tuple[int, str]]:
        with World(seed, plan=plan) as world:
            sender = Sender(world)
            world.faults.propose(draw_plan(world))
            world.run_for(20_000 * MS)
            return sender.moments

    with World(7) as world:
        Sender(world)
        drawn = draw_plan(world)

    assert run(7, None) == run(8, drawn) != run(8, None)


@pytest.mark.verifies("REQ_8008")
def test_a_plan_drawn_during_the_run_is_refused() -> None:
    with World() as world:
        Sender(world)
        world.run_for(1)

        with pytest.raises(FaultPlanError, match="after the first step"):
            world.faults.propose(FaultPlan.of(entry()))


@pytest.mark.verifies("REQ_8008")
def test_a_campaign_that_matches_nothing_says_what_is_offered() -> None:
    with World() as world:
        Sender(world)

        with pytest.raises(FaultPlanError, match=r"no fault kind matches can/\*:\*; offered: bus/sender:silence"):
            draw_plan(world, Campaign(enabled=("can/*:*",)))


@pytest.mark.verifies("REQ_8007")
@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("at = 3", 'fault 1 (silence at a): at = 3 has no unit; write it as "3s" or "3ms"'),
        ("at = 3.5", 'fault 1 (silence at a): at = 3.5 has no unit; write it as "3.5s" or "3.5ms"'),
        ('at = "3s"\nduration = 5', 'fault 1 (silence at a): duration = 5 has no unit; write it as "5s" or "5ms"'),
        ('at = "3"', "'3' is no duration; write a number and a unit"),
    ],
)
def test_a_time_without_a_unit_is_refused_with_the_way_out(line: str, message: str) -> None:
    with pytest.raises(FaultPlanError) as refused:
        FaultPlan.parse(f'[[fault]]\ntarget = "a"\nkind = "silence"\n{line}\n', "my.toml")

    assert str(refused.value).startswith("my.toml: fault 1")
    assert message in str(refused.value)
