"""One text language for frames, filters and faults, carried out here on simulated buses in virtual time.

``taktora_hil.can_script`` carries the same scripts out on a kernel's virtual CAN; the logs are equal. The language
stands in :mod:`taktora_sim.can.script.parser`, the lines of a log in :mod:`taktora_sim.can.script.player`.

Compared are the frames, error frames, states and refusals of each socket, in their order. Not compared is what vcan
does not have: times, bit errors, acknowledgement and error counters. Its order of frames is that of the calls, so the
simulated nodes do not compete for the bus here. vcan gives a host's sockets their frames when they are sent, not at the
end of the frame: that would show only where an interface goes down with frames in its queue, which no script does.
"""

from __future__ import annotations

from pathlib import Path

from taktora_sim.can.script.bench import SimulatedScriptBench
from taktora_sim.can.script.model import Script
from taktora_sim.can.script.parser import ScriptError, parse_script
from taktora_sim.can.script.player import ScriptLogs, logs_text, play_script

__all__ = ["Script", "ScriptError", "ScriptLogs", "load_script", "logs_text", "parse_script", "run_script"]


def load_script(source: Path | str) -> Script:
    """Return the script in a file, or in a text of several lines.

    Raises:
        ScriptError: a line of it is wrong; the text names file, line and what is expected.
        OSError: the file cannot be read.
    """
    if isinstance(source, str) and "\n" in source:
        return parse_script(source)
    path = Path(source)
    return parse_script(path.read_text(encoding="utf-8"), path.name, path.parent)


# req: REQ_8206
def run_script(source: Script | Path | str, seed: int = 1) -> ScriptLogs:
    """Carry a script out on simulated buses and return the log of each socket.

    Args:
        source: A parsed script, a file, or a text of several lines.
        seed: Seed of the World.

    Raises:
        ScriptError: a line of it is wrong.
    """
    script = source if isinstance(source, Script) else load_script(source)
    bench = SimulatedScriptBench(script, seed)
    try:
        return play_script(script, bench)
    finally:
        bench.close()
