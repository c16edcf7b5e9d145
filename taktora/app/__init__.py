"""The App facade: one declaration of an application, bound to a world when it runs."""

from __future__ import annotations

from taktora.app.app import App, CanBus, Context
from taktora.app.bench import Bench, CanBacking, EthercatBacking, ExecutorThread, load_bench
from taktora.app.bound import BoundApp
from taktora.app.ethercat import BusCycle, Device, Emergencies, EthercatBus, SliceWriter
from taktora.app.handles import Channel, Reader, Signal, Writer
from taktora.app.machine import CanBusSpec, Machine, load_machine

__all__ = [
    "App",
    "Bench",
    "BoundApp",
    "BusCycle",
    "CanBacking",
    "CanBus",
    "CanBusSpec",
    "Channel",
    "Context",
    "Device",
    "Emergencies",
    "EthercatBacking",
    "EthercatBus",
    "ExecutorThread",
    "Machine",
    "Reader",
    "Signal",
    "SliceWriter",
    "Writer",
    "load_bench",
    "load_machine",
]
