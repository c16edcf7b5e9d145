"""The DBC of the rest-bus tests: three senders, one message without, of each kind that there is."""

from __future__ import annotations

from pathlib import Path

from taktora.codec.dbc import load_dbc
from taktora_sim.can import SimulatedCanBus
from taktora_sim.can.restbus.bus import RestBus
from taktora_sim.can.restbus.disturbances import RandomValue
from taktora_sim.can.restbus.generators import Checksum, Counter, Ramp, Sine, Table
from taktora_sim.world import World

__all__ = ["VEHICLE", "hash_of_run", "write_dbc"]

VEHICLE = """VERSION ""

NS_ :

BS_:

BU_: BMS VCU RADAR TESTER

BO_ 384 PackStatus: 8 BMS
 SG_ Voltage : 0|16@1+ (0.1,0) [0|1000] "V" VCU
 SG_ Current : 16|8@1- (1,0) [0|0] "A" VCU
 SG_ Mode : 24|4@1+ (1,0) [1|3] "" VCU
 SG_ Alive : 28|4@1+ (1,0) [0|15] "" VCU
 SG_ Check : 56|8@1+ (1,0) [0|255] "" VCU

BO_ 385 Modules: 8 BMS
 SG_ Module M : 0|8@1+ (1,0) [0|0] "" VCU
 SG_ Volt0 m0 : 8|16@1+ (1,0) [0|0] "" VCU
 SG_ Temp2 m2 : 8|8@1+ (1,0) [0|0] "" VCU
 SG_ Inner m5M : 8|8@1+ (1,0) [0|0] "" VCU
 SG_ Deep1 m1 : 16|8@1+ (1,0) [0|0] "" VCU
 SG_ Deep3 m3 : 24|8@1+ (1,0) [0|0] "" VCU

BO_ 2566869221 Motion: 8 VCU
 SG_ Power : 0|32@1- (1,0) [0|0] "W" BMS
 SG_ Position : 39|16@0- (0.5,0) [0|0] "mm" BMS

BO_ 512 Track: 10 RADAR
 SG_ Range : 0|16@1+ (0.01,0) [0|0] "m" VCU
 SG_ Far : 64|16@1+ (1,0) [0|0] "m" VCU

BO_ 769 Request: 2 TESTER
 SG_ Command : 0|8@1+ (1,0) [0|0] "" VCU

BO_ 770 Forgotten: 2 TESTER
 SG_ Nothing : 0|8@1+ (1,0) [0|0] "" VCU

BO_ 771 Orphan: 1 Vector__XXX
 SG_ Alone : 0|8@1+ (1,0) [0|0] "" VCU

BA_DEF_ BO_ "GenMsgCycleTime" INT 0 60000;
BA_DEF_ BO_ "GenMsgSendType" ENUM "cyclic","spontaneous";
BA_DEF_ SG_ "GenSigStartValue" FLOAT -1000000 100000000;
BA_DEF_DEF_ "GenMsgCycleTime" 0;
BA_DEF_DEF_ "GenMsgSendType" "cyclic";
BA_DEF_DEF_ "GenSigStartValue" 0;
BA_ "GenMsgCycleTime" BO_ 384 10;
BA_ "GenMsgCycleTime" BO_ 385 50;
BA_ "GenMsgCycleTime" BO_ 2566869221 20;
BA_ "GenMsgCycleTime" BO_ 512 40;
BA_ "GenMsgCycleTime" BO_ 771 100;
BA_ "GenMsgSendType" BO_ 769 1;
BA_ "GenSigStartValue" SG_ 384 Voltage 4000;
BA_ "GenSigStartValue" SG_ 384 Current -5;
VAL_ 384 Mode 1 "Park" 2 "Drive" 3 "Charge" ;
SIG_VALTYPE_ 2566869221 Power : 1;
SG_MUL_VAL_ 385 Volt0 Module 0-0;
SG_MUL_VAL_ 385 Temp2 Module 2-2;
SG_MUL_VAL_ 385 Inner Module 5-5;
SG_MUL_VAL_ 385 Deep1 Inner 1-1;
SG_MUL_VAL_ 385 Deep3 Inner 3-3;
"""


def write_dbc(folder: Path, text: str = VEHICLE) -> Path:
    """Write the file and return its path."""
    path = folder / "vehicle.dbc"
    path.write_text(text, encoding="cp1252")
    return path


def hash_of_run(dbc: Path | str, seed: int) -> str:
    """Return the trace of one second with a generator of each kind."""
    bus = SimulatedCanBus(World(seed), "vehicle", data_bitrate=2_000_000)
    rest = RestBus(bus, load_dbc(dbc), phases_ms={"Track": 3})
    rest.signal("PackStatus.Voltage").set(Sine(0, 1000, 333))
    rest.signal("PackStatus.Current").set(Ramp(-100, 100, 77.7, is_triangle=True))
    rest.signal("PackStatus.Mode").set(Table([1, 3, 2], every_ms=100))
    rest.signal("PackStatus.Alive").set(Counter(wrap=15))
    rest.signal("PackStatus.Check").set(Checksum("e2e_p01", data_id=0x123))
    rest.signal("Motion.Power").set(Sine(-5, 5, 77))
    rest.signal("Track.Range").set(lambda moment: 100 + moment.number / 7)
    bus.world.call_at(500_000_000, lambda: rest.signal("Modules.Volt0").disturb(RandomValue(), times=5))
    bus.world.run_for(1_000_000_000)
    bus.world.close()
    return bus.world.trace.sha256()
