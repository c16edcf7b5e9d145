"""The program of test_soem_ring: pysoem, as it is, on both ends of a ring; run in a network namespace of its own.

python -m tests.system.ethercat.soem_ring MACHINE MIDDLE LAST

Prints one JSON object: what the working counter was in each phase, and the states at the end.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pysoem

_WAIT_US = 100_000
_NEAR, _FAR = ("near0", "near1"), ("far0", "far1")


class Segment:
    """The segment's process and its control channel."""

    def __init__(self, machine: str) -> None:
        for near, far in zip(_NEAR, _FAR, strict=True):
            _ip("link", "add", near, "type", "veth", "peer", "name", far)
            _ip("link", "set", near, "up")
            _ip("link", "set", far, "up")
        command = [sys.executable, "-m", "taktora_sim.ethercat.serve", "--machine", machine, "--bus", "cell"]
        self._child = subprocess.Popen(
            [*command, "--interface", _FAR[0], "--redundant", _FAR[1]], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self._answer()["ready"]

    def inject(self, label: str, kind: str) -> int:
        return int(self._do(do="inject", target=f"ethercat/cell/{label}", kind=kind)["fault"])

    def end(self, fault: int) -> None:
        self._do(do="end", fault=fault)

    def close(self) -> int:
        self._child.communicate(timeout=20)
        return self._child.returncode

    def _do(self, **request: object) -> dict[str, Any]:
        assert self._child.stdin is not None
        self._child.stdin.write(json.dumps(request).encode() + b"\n")
        self._child.stdin.flush()
        answer = self._answer()
        assert answer["ok"], answer
        return answer

    def _answer(self) -> dict[str, Any]:
        assert self._child.stdout is not None
        answer: dict[str, Any] = json.loads(self._child.stdout.readline())
        return answer


def run(machine: str, middle: str, last: str) -> dict[str, object]:
    """Bring up, cut and heal the ring at ``middle``, cycle the power of ``last`` and recover it."""
    segment = Segment(machine)
    pysoem.settings.timeouts.ret = _WAIT_US
    main = pysoem.Master()
    main.open(*_NEAR)
    found = main.config_init()
    main.config_map()
    for slave in main.slaves:  # longer than any pause of a busy machine: watchdogs are not what is judged here
        slave.set_watchdog("processdata", 5000)
    main.state_check(pysoem.SAFEOP_STATE, 2_000_000)
    _exchange(main, 1)
    _to_op(main, main)
    seen: dict[str, object] = {"found": found, "closed": _exchange(main, 50)}
    fault = segment.inject(middle, "cut-cable")
    seen["cut"] = _exchange(main, 50)
    segment.end(fault)
    seen["healed"] = _exchange(main, 50)
    fault = segment.inject(last, "power-cycle")
    seen["off"] = _exchange(main, 5)
    segment.end(fault)
    device = main.slaves[-1]
    seen["recovered"] = device.recover(_WAIT_US)
    device.reconfig(_WAIT_US)
    _to_op(main, device)
    seen["on"] = _exchange(main, 50)
    main.read_state()
    seen["states"] = sorted({slave.state for slave in main.slaves})
    main.close()
    seen["status"] = segment.close()
    return seen


def _to_op(main: Any, who: Any) -> None:
    who.state = pysoem.OP_STATE
    who.write_state()
    for _ in range(200):
        _exchange(main, 1)
        if who.state_check(pysoem.OP_STATE, 2_000) == pysoem.OP_STATE:
            return


def _exchange(main: Any, count: int) -> list[int]:
    """Return the different working counters of ``count`` exchanges."""
    seen = set()
    for _ in range(count):
        main.send_processdata()
        seen.add(main.receive_processdata(_WAIT_US))
    return sorted(seen)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


if __name__ == "__main__":
    print(json.dumps(run(*sys.argv[1:])))
