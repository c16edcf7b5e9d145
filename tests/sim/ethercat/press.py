"""A small press: the machine file and the application that the tests of the simulated EtherCAT bus share."""

from __future__ import annotations

from dataclasses import dataclass

from taktora import App, Context

MACHINE = """\
machine: press
ethercat:
  cell:
    cycle_time_ms: 1
    devices:
      - {label: coupler, identity: {vendor_id: 0x7E57, product_code: 1}}
      - label: buttons
        identity: {vendor_id: 0x7E57, product_code: 2}
        pdos: {tx: [{index: 0x1A00, entries: [{name: start, type: bool}, {name: stop, type: bool}]}]}
      - label: valve
        identity: {vendor_id: 0x7E57, product_code: 3}
        sm_watchdog_enabled: true
        pdos: {rx: [{index: 0x1600, entries: [{name: open, type: bool}, {name: pulses, type: bits, bit_length: 3}]}]}
      - label: ram
        identity: {vendor_id: 0x7E57, product_code: 4}
        mailbox: {}
        sm_watchdog_enabled: true
        pdos:
          rx: [{index: 0x1600, entries: [{name: target, index: 0x607A, type: i32, factor: 0.001, unit: mm}]}]
          tx: [{index: 0x1A00, entries: [{name: position, index: 0x6064, type: i32, factor: 0.001, unit: mm}]}]
"""


@dataclass
class Buttons:
    start: bool
    stop: bool


@dataclass
class Valve:
    open: bool


@dataclass
class RamIn:
    position: float


@dataclass
class RamOut:
    target: float


class Press:
    """The application: start opens the valve and moves the ram by 12.5 mm; stop closes the valve."""

    def __init__(self) -> None:
        self.app = App("press")
        cell = self.app.ethercat("cell")
        self.buttons = cell.device("buttons", Buttons)
        self.valve = cell.device("valve", outputs=Valve)
        self.ram = cell.device("ram", RamIn, RamOut)
        self.cycles = 0

        @self.app.cyclic(on=cell.cycle)
        def control(_ctx: Context) -> None:
            self.cycles += 1
            if self.buttons.inputs.start:
                self.valve.outputs.open = True
                self.ram.outputs.target = self.ram.inputs.position + 12.5
            if self.buttons.inputs.stop:
                self.valve.outputs.open = False
