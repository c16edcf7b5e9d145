from __future__ import annotations

import tracemalloc

import pytest

from taktora.connector import ChannelRegistry
from taktora.errors import ConfigurationError


@pytest.mark.verifies("REQ_0272")
def test_entries_keep_the_order_of_opening() -> None:
    registry: ChannelRegistry[int] = ChannelRegistry("can")

    for index, name in enumerate(["zeta", "alpha", "mid"]):
        registry.add(name, index)
    registry.remove("alpha")
    registry.add("alpha", 9)

    assert (list(registry), registry.names) == ([0, 2, 9], ("zeta", "mid", "alpha"))


@pytest.mark.verifies("REQ_0224")
def test_second_port_on_a_service_is_refused() -> None:
    registry: ChannelRegistry[int] = ChannelRegistry("can")
    registry.add("speed.out", 1)

    with pytest.raises(ConfigurationError, match=r"connector 'can': service 'speed.out' is open already"):
        registry.add("speed.out", 2)
    assert registry.entries == (1,)


@pytest.mark.verifies("REQ_0272")
def test_generation_and_callback_follow_every_change() -> None:
    changes: list[int] = []
    registry: ChannelRegistry[int] = ChannelRegistry("can", lambda: changes.append(1))

    registry.add("a", 1)
    registry.remove("a")
    absent = registry.remove("a")

    assert (registry.generation, len(changes), absent) == (2, 2, None)


@pytest.mark.verifies("REQ_0272")
def test_snapshot_stays_while_channels_are_added() -> None:
    registry: ChannelRegistry[int] = ChannelRegistry("can")
    registry.add("a", 1)

    seen = []
    for entry in registry:
        seen.append(entry)
        registry.add(f"late-{entry}", entry + 1)

    assert seen == [1]


@pytest.mark.verifies("REQ_0272")
def test_iterating_keeps_no_memory() -> None:
    registry: ChannelRegistry[object] = ChannelRegistry("can")
    for index in range(64):
        registry.add(f"c{index}", object())
    for _ in registry:
        pass

    tracemalloc.start()
    grown_bytes = []
    for _ in range(5):
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            for _ in registry:
                pass
        grown_bytes.append(tracemalloc.get_traced_memory()[0] - before)
    tracemalloc.stop()

    assert min(grown_bytes) < 200  # a thread of the test runner may keep something in one of them
