"""The segment behind sockets, on the wall clock: in this process, and in one of its own with its control channel."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from taktora.errors import ConfigurationError
from taktora_sim.ethercat.frame import Command, Datagram, decode_frame, encode_frame, position_address
from taktora_sim.ethercat.segment import SimulatedSegment
from taktora_sim.ethercat.serve import main, open_interface, serve
from tests.sim.ethercat.segments import MS, line

_PATIENCE_S = 20.0
_BRD = encode_frame([Datagram(Command.BRD, 0, b"\0", index=3)])

_MACHINE = """
machine: press
ethercat:
  cell:
    devices:
      - label: coupler
        identity: {vendor_id: 1, product_code: 2}
      - label: valve
        profile: digital-outputs
        sm_watchdog_enabled: true
        identity: {vendor_id: 1, product_code: 3}
        pdos: {rx: [{index: 0x1600, entries: [{name: open, type: bool, index: 0x7000, subindex: 1}]}]}
"""


class _Peer:
    """The MainDevice's end of a pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        end.settimeout(_PATIENCE_S)

    def ask(self, frame: bytes) -> Datagram:
        self.end.send(frame)
        return decode_frame(self.end.recv(2000))[0]

    def is_silent(self, wait_s: float = 0.2) -> bool:
        return not select.select([self.end], [], [], wait_s)[0]


class _Server(threading.Thread):
    def __init__(self, bus: SimulatedSegment, ends: list[socket.socket]) -> None:
        super().__init__(name="segment", daemon=True)
        self._bus = bus
        self._ends = ends
        self.over = threading.Event()

    def run(self) -> None:
        serve(self._bus, self._bus.world, self._ends, self.over.is_set)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    left, right = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with left, right:
        yield left, right


@pytest.fixture
def served(pair: tuple[socket.socket, socket.socket]) -> Iterator[tuple[SimulatedSegment, _Peer]]:
    bus = line(2)
    server = _Server(bus, [pair[0]])
    server.start()
    yield bus, _Peer(pair[1])
    server.over.set()
    server.join(_PATIENCE_S)
    assert not server.is_alive()


@pytest.mark.verifies("REQ_8100")
def test_short_frames_are_answered_over_a_pair_of_sockets(served: tuple[SimulatedSegment, _Peer]) -> None:
    _bus, peer = served

    answers = [peer.ask(_BRD) for _ in range(50)]

    assert len(_BRD) == 29
    assert {(answer.index, answer.working_counter) for answer in answers} == {(3, 2)}


@pytest.mark.verifies("REQ_8112")
def test_foreign_frames_are_not_answered(served: tuple[SimulatedSegment, _Peer]) -> None:
    bus, peer = served

    peer.end.send(b"\xff" * 6 + b"\x01" * 6 + b"\x08\x00" + bytes(46))
    peer.end.send(b"\x42")
    answer = peer.ask(_BRD)

    assert answer.working_counter == 2
    assert bus.frames == 1


@pytest.mark.verifies("REQ_8109")
def test_lost_late_and_doubled_frames_are_so_on_the_wire(pair: tuple[socket.socket, socket.socket]) -> None:
    bus = line(1)
    faults = bus.world.faults
    path = bus.path
    every: dict[str, bool | int | float | str] = {"commands": "BRD"}
    faults.inject(path, "duplicate-frames", parameters=every)
    faults.inject(path, "lose-frames", parameters={"commands": "LRW"})
    faults.inject(path, "delay-frames", parameters={"commands": "NOP", "by_ns": 1000 * MS})
    server, peer = _Server(bus, [pair[0]]), _Peer(pair[1])
    for command in (Command.NOP, Command.LRW):
        peer.end.send(encode_frame([Datagram(command, 0, b"\x01")]))
    peer.end.send(_BRD)

    server.start()
    try:
        order = [decode_frame(peer.end.recv(2000))[0].command for _ in range(3)]
        silent = peer.is_silent()
    finally:
        server.over.set()
        server.join(_PATIENCE_S)

    assert (order, silent) == ([Command.BRD, Command.BRD, Command.NOP], True)


@pytest.mark.verifies("REQ_8105", "REQ_8110")
def test_virtual_time_goes_with_the_wall_clock(served: tuple[SimulatedSegment, _Peer]) -> None:
    _bus, peer = served
    watchdog = [(0x0420, b"\x64\0"), (0x0810, b"\0\x11\x02\0\x64\0\x01\0"), (0x1100, b"\x01\x02")]
    for register, data in watchdog:
        answer = peer.ask(encode_frame([Datagram(Command.APWR, position_address(0, register), data)]))
        assert answer.working_counter == 1
    status = encode_frame([Datagram(Command.APRD, position_address(0, 0x0440), bytes(4))])

    expired = b""
    for _ in range(400):
        expired = peer.ask(status).data
        if expired[2]:
            break
        threading.Event().wait(0.01)

    assert (expired[0], expired[2]) == (0, 1)


@pytest.mark.verifies("REQ_8110")
def test_an_interface_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="nosuch0"):
        open_interface("nosuch0")


class _Process:
    """A segment in a process of its own."""

    def __init__(self, machine: Path, *more: str) -> None:
        theirs, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "taktora_sim.ethercat.serve", "--machine", str(machine), "--bus", "cell"]
        with theirs:
            self.child = subprocess.Popen(
                [*command, "--socket", str(theirs.fileno()), *more],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        self.peer = _Peer(ours)
        self.ready = self._read()

    def do(self, **request: object) -> dict[str, Any]:
        assert self.child.stdin is not None
        self.child.stdin.write(json.dumps(request).encode() + b"\n")
        self.child.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        assert select.select([self.child.stdout], [], [], _PATIENCE_S)[0], "the segment says nothing"
        answer: dict[str, Any] = json.loads(self.child.stdout.readline())
        return answer

    def close(self) -> int:
        """Close its standard input, and return its exit status."""
        self.peer.end.close()
        try:
            self.child.communicate(timeout=_PATIENCE_S)
        finally:
            self.child.kill()
            self.child.wait()
        return self.child.returncode


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    path = tmp_path / "machine.yaml"
    path.write_text(_MACHINE, encoding="utf-8")
    return path


@pytest.mark.verifies("REQ_8109", "REQ_8111")
def test_a_process_is_told_of_faults_and_says_how_its_devices_are(machine: Path, tmp_path: Path) -> None:
    record = tmp_path / "cell.pcapng"
    process = _Process(machine, "--record", str(record))
    try:
        whole = process.peer.ask(_BRD).working_counter
        injected = process.do(do="inject", target="ethercat/cell/valve", kind="cut-cable")
        cut = process.peer.ask(_BRD).working_counter
        ended = process.do(do="end", fault=injected["fault"])
        healed = process.peer.ask(_BRD).working_counter
        process.peer.ask(encode_frame([Datagram(Command.BWR, 0x0120 << 16, b"\x02\0")]))
        snapshot = process.do(do="snapshot")
        refused = [process.do(do="dance"), process.do(do="end", fault=9), process.do(do="inject", target="x", kind="y")]
        quit_ = process.do(do="quit")
    finally:
        status = process.close()

    assert process.ready == {"ready": True, "bus": "cell", "subdevices": ["coupler", "valve"]}
    assert (whole, cut, healed, ended["ok"]) == (2, 1, 2, True)
    states = [(each["label"], each["state"], each["outputs_are_safe"]) for each in snapshot["subdevices"]]
    assert states == [("coupler", "PRE-OP", True), ("valve", "PRE-OP", True)]
    assert [(each["ok"], bool(each["error"])) for each in refused] == [(False, True)] * 3
    assert (quit_["ok"], status) == (True, 0)
    assert record.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"
    assert len(record.read_bytes()) > 500


@pytest.mark.verifies("REQ_8110")
def test_a_process_ends_with_its_parents_end_of_the_control_channel(machine: Path) -> None:
    process = _Process(machine)

    assert process.peer.ask(_BRD).working_counter == 2
    assert process.close() == 0


@pytest.mark.verifies("REQ_8110")
def test_a_bus_that_is_not_in_the_machine_file_is_named(machine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["--machine", str(machine), "--bus", "cells", "--socket", "99"])

    assert status == 1
    assert "'cells'" in capsys.readouterr().err
