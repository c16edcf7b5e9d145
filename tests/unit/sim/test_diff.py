"""The comparison of two traces: first divergence, neighbours, component path, readable payloads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from taktora.transport.envelope import HEADER_BYTES, NO_CORRELATION, stamp
from taktora_sim import diff
from taktora_sim.cli import app
from taktora_sim.diff import Divergence, compare, describe_payload, register_decoder, render
from taktora_sim.faults import FaultEntry, FaultKind, FaultPlan
from taktora_sim.trace import TraceRecord
from taktora_sim.world import World

SHELL = CliRunner()
RECORD = TraceRecord(1_500_000_000, "can/vehicle", "frame", b"\x23\x01\x00\x00\x02\xab\xcd")


def records(count: int) -> list[TraceRecord]:
    return [TraceRecord(number, f"part/{number % 3}", "kind", bytes((number,))) for number in range(count)]


def write(path: Path, script: Callable[[World], None]) -> Path:
    with World(trace_file=path) as world:
        script(world)
    return path


def send(*payloads: bytes, path: str = "sender") -> Callable[[World], None]:
    def script(world: World) -> None:
        record = world.trace.channel(path, "value")
        for number, payload in enumerate(payloads):
            world.call_at(number * 1_000, lambda payload=payload: record(payload))  # type: ignore[misc]
        world.run_for(10_000_000)

    return script


@pytest.mark.verifies("REQ_8005")
def test_equal_traces_give_their_number_of_records() -> None:
    assert compare(records(5), records(5)) == 5
    assert compare([], []) == 0


@given(st.integers(0, 29), st.integers(0, 5))
@pytest.mark.verifies("REQ_8005")
def test_the_first_divergence_is_found_with_its_neighbours(index: int, neighbours: int) -> None:
    left, right = records(30), records(30)
    right[index] = right[index]._replace(payload=b"other")

    found = compare(left, right, neighbours)

    assert isinstance(found, Divergence)
    assert found.index == index
    assert found.before == left[max(0, index - neighbours) : index]
    assert found.left == left[index : index + 1 + neighbours]
    assert found.right[0].payload == b"other"


@pytest.mark.verifies("REQ_8005")
def test_a_trace_that_ends_early_is_a_divergence() -> None:
    found = compare(records(3), records(5))

    assert isinstance(found, Divergence)
    assert (found.index, found.left, len(found.right)) == (3, [], 2)
    assert "the first trace ends, the other goes on with component part/0" in render(found, "a", "b")


@pytest.mark.parametrize(
    ("other", "headline"),
    [
        pytest.param(RECORD._replace(path="can/body"), "component can/vehicle against component can/body", id="path"),
        pytest.param(RECORD._replace(t_ns=1_500_000_240), "can/vehicle, +240 ns in the second trace", id="time"),
        pytest.param(RECORD._replace(kind="fault"), "can/vehicle, kind frame against fault", id="kind"),
        pytest.param(
            RECORD._replace(payload=RECORD.payload[:6] + b"\xce"),
            "can/vehicle, payload differs from byte 6 on",
            id="payload",
        ),
        pytest.param(
            RECORD._replace(payload=RECORD.payload[:5]),
            "payload differs from byte 5 on, lengths 7 and 5 bytes",
            id="length",
        ),
    ],
)
@pytest.mark.verifies("REQ_8005")
def test_the_headline_says_what_differs(other: TraceRecord, headline: str) -> None:
    found = compare([RECORD], [other])

    assert isinstance(found, Divergence)
    assert headline in render(found, "a", "b").splitlines()[0]


@pytest.mark.verifies("REQ_8005")
def test_payloads_are_shown_in_hex_and_in_words() -> None:
    found = compare([RECORD], [RECORD._replace(payload=b"\x23\x01\x00\x80\x01\xff")])

    assert isinstance(found, Divergence)
    text = render(found, "a", "b")
    assert "1.500000000 s  can/vehicle  frame" in text
    assert "= 123#ABCD" in text
    assert "= 00000123#FF" in text
    assert "23010000" in text


@pytest.mark.verifies("REQ_8005")
def test_an_envelope_is_shown_with_sequence_and_content() -> None:
    content = b'{"level":3}'
    view = memoryview(bytearray(HEADER_BYTES) + content)
    stamp(view, 7, 99, NO_CORRELATION, len(content))

    words = describe_payload(TraceRecord(0, "service/x", "publish", bytes(view)))

    assert words == "envelope 7 at 99 ns: '{\"level\":3}'"


@given(st.sampled_from(["publish", "frame", "run", "signal", "event", "check", "value"]), st.binary(max_size=90))
@pytest.mark.verifies("REQ_8005")
def test_no_payload_breaks_the_description(kind: str, payload: bytes) -> None:
    assert isinstance(describe_payload(TraceRecord(0, "x", kind, payload)), str)


@pytest.mark.verifies("REQ_8005")
def test_a_signal_that_differs_is_shown_by_its_name_and_both_values(tmp_path: Path) -> None:
    first = write(tmp_path / "a", lambda world: world.recorder.signal("level", "mm", "tank")(0.5))
    second = write(tmp_path / "b", lambda world: world.recorder.signal("level", "mm", "tank")(3))

    done = SHELL.invoke(app, ["diff", str(first), str(second)])

    headline, *lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert headline.endswith("component app/tank/signal/level, payload differs from byte 6 on: 0.5 against 3.0")
    assert "- > 0.000000000 s  app/tank/signal/level  signal" in lines
    assert "- >     = 0.5" in lines
    assert "+ >     = 3.0" in lines


@pytest.mark.verifies("REQ_8005")
def test_an_event_that_differs_is_shown_by_its_severity_and_text() -> None:
    records = [TraceRecord(0, "app/tank/event", "event", payload) for payload in (b"\x02too full", b"\x00ok\nnow")]

    text = render(Divergence(4, [], records[:1], records[1:]), "a", "b")

    assert "payload differs from byte 0 on, lengths 9 and 7 bytes: alarm 'too full' against info 'ok\\nnow'" in text


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        pytest.param(b"\x01it stops\x00after 3 ms", "holds: 'it stops', 'after 3 ms'", id="detail"),
        pytest.param(b"\x00it stops\x00", "fails: 'it stops'", id="no-detail"),
    ],
)
@pytest.mark.verifies("REQ_8005")
def test_a_check_is_shown_in_words(payload: bytes, words: str) -> None:
    assert describe_payload(TraceRecord(0, "world/check", "check", payload)) == words


@pytest.mark.verifies("REQ_8005")
def test_words_that_are_too_long_for_the_headline_stand_below_it() -> None:
    records = [TraceRecord(0, "app/tank/event", "event", b"\x00" + letter * 60) for letter in (b"a", b"b")]

    headline, *lines = render(Divergence(4, [], records[:1], records[1:]), "a", "b").splitlines()

    assert headline.endswith("payload differs from byte 1 on")
    assert f"+ >     = info '{'b' * 60}'" in lines


@pytest.mark.verifies("REQ_8005")
def test_a_decoder_of_ones_own_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diff, "_DECODERS", {})
    register_decoder("level", lambda payload: f"{payload[0]} cm")

    assert describe_payload(TraceRecord(0, "tank", "level", b"\x05")) == "5 cm"
    assert describe_payload(TraceRecord(0, "tank", "level", b"")) == "''"


@pytest.mark.verifies("REQ_8005")
def test_the_command_says_equal(tmp_path: Path) -> None:
    traces = [str(write(tmp_path / name, send(b"1", b"2"))) for name in "ab"]

    done = SHELL.invoke(app, ["diff", *traces])

    assert (done.exit_code, done.stdout) == (0, "equal: 3 records\n")


@pytest.mark.verifies("REQ_8005")
def test_the_command_shows_the_divergence_and_ends_with_1(tmp_path: Path) -> None:
    first = write(tmp_path / "a", send(b"same", b"one", b"later"))
    second = write(tmp_path / "b", send(b"same", b"two", b"later"))

    done = SHELL.invoke(app, ["diff", str(first), str(second), "--neighbours", "1"])

    assert done.exit_code == 1
    assert done.stdout.splitlines() == [
        "the traces part at record 2: component sender, payload differs from byte 0 on: 'one' against 'two'",
        "",
        "before, the same in both:",
        "    0.000000000 s  sender  value",
        "        73616d65",
        "        = 'same'",
        "",
        f"- {first}:",
        "- > 0.000001000 s  sender  value",
        "- >     6f6e65",
        "- >     = 'one'",
        "-   0.000002000 s  sender  value",
        "-       6c617465 72",
        "-       = 'later'",
        "",
        f"+ {second}:",
        "+ > 0.000001000 s  sender  value",
        "+ >     74776f",
        "+ >     = 'two'",
        "+   0.000002000 s  sender  value",
        "+       6c617465 72",
        "+       = 'later'",
    ]


@pytest.mark.verifies("REQ_8005")
def test_a_divergence_before_damage_is_still_shown(tmp_path: Path) -> None:
    first = write(tmp_path / "a", send(b"one", b"later"))
    second = write(tmp_path / "b", send(b"two", b"later"))
    first.write_bytes(first.read_bytes()[:-3])

    done = SHELL.invoke(app, ["diff", str(first), str(second)])

    assert done.exit_code == 1
    assert "component sender" in done.stdout


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, "No such file or directory", id="missing"),
        pytest.param(b"hello", "no trace file", id="no-trace"),
        pytest.param(b"taktora-trace 1\n\x40\0\0\0abc", "damaged at byte 16", id="damaged"),
    ],
)
@pytest.mark.verifies("REQ_8005")
def test_a_file_that_cannot_be_read_ends_with_2(tmp_path: Path, content: bytes | None, message: str) -> None:
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)

    done = SHELL.invoke(app, ["diff", str(bad), str(bad)])

    assert done.exit_code == 2
    assert message in done.stderr
    assert str(bad) in done.stderr


def run_with(path: Path, seed: int, plan: FaultPlan | None = None, payload: bytes = b"one") -> Path:
    with World(seed, trace_file=path, plan=plan) as world:
        world.faults.target("pump", {"stop": FaultKind(lambda _: None)})
        send(payload)(world)
    return path


@pytest.mark.verifies("REQ_8005")
def test_other_seeds_and_plans_are_told_before_the_first_difference_in_behaviour(tmp_path: Path) -> None:
    plan = FaultPlan.of(FaultEntry(target="pump", kind="stop", at_ns=3), about="the pump stops")
    first = run_with(tmp_path / "a", 1)
    second = run_with(tmp_path / "b", 2, plan, b"two")

    done = SHELL.invoke(app, ["diff", str(first), str(second)])

    lines = done.stdout.splitlines()
    assert done.exit_code == 1
    assert lines[0] == "seeds differ: 1 and 2"
    assert lines[1] == "plans differ: none and 'the pump stops' (stop at pump at 3ns)"
    assert (
        lines[2] == "the traces part at record 0: component sender, payload differs from byte 0 on: 'one' against 'two'"
    )


@pytest.mark.verifies("REQ_8005")
def test_runs_that_differ_in_their_seeds_alone_are_said_to(tmp_path: Path) -> None:
    done = SHELL.invoke(app, ["diff", str(run_with(tmp_path / "a", 1)), str(run_with(tmp_path / "b", 2))])

    assert done.exit_code == 1
    assert done.stdout == "seeds differ: 1 and 2\nand nothing else: all 1 other records are equal\n"
