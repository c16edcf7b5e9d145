"""What the tests of foreign programs share: a folder of servers of their own, and bus makers in both kinds of time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import can
import pytest

from taktora_sim.can.python_can.runtime_folder import FOLDER_VARIABLE
from taktora_sim.world import World

Open = Callable[..., can.BusABC]
_numbers = count(1)


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which servers and programs of this test run find each other."""
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(autouse=True)
def _own_servers(servers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    servers.chmod(0o700)
    monkeypatch.setenv(FOLDER_VARIABLE, str(servers))
    monkeypatch.delenv("CAN_CONFIG", raising=False)


@pytest.fixture
def channel() -> str:
    """A channel that no other test uses."""
    return f"t{next(_numbers)}"


@pytest.fixture(params=["virtual", "real"])
def open_bus(request: pytest.FixtureRequest, channel: str) -> Iterator[Open]:
    """Opens buses on one channel, inside a World or in real time, and shuts them down in the end."""
    opened: list[can.BusABC] = []

    def open_one(**kwargs: Any) -> can.BusABC:
        bus = can.Bus(interface="taktora_sim", channel=channel, ignore_config=True, **kwargs)
        opened.append(bus)
        return bus

    if request.param == "virtual":
        with World(1) as world, world.as_current():
            yield open_one
            for bus in opened:
                bus.shutdown()
    else:
        yield open_one
        for bus in opened:
            bus.shutdown()
