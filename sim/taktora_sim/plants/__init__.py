"""Physics behind simulated devices: axes, cylinders, light barriers, buttons, emergency-stop chains; no device in here.

Each plant reads outputs of simulated devices and sets inputs of others, at events of virtual time: a plant in which
nothing happens costs nothing. From Python a plant is made with the devices it stands at; from a bench file by
``[ethercat.BUS.plant.LABEL]`` with ``kind`` (see :mod:`taktora_sim.ethercat.plants`).
"""

from __future__ import annotations

from taktora_sim.plants.axis import Axis, AxisParameters
from taktora_sim.plants.cylinder import Cylinder
from taktora_sim.plants.sensors import LightBarrier, PushButton, Sensor
from taktora_sim.plants.stopchain import StopChain

__all__ = ["Axis", "AxisParameters", "Cylinder", "LightBarrier", "PushButton", "Sensor", "StopChain"]
