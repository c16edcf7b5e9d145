"""Standard logging in a simulated run: it keeps working, on virtual time."""

from __future__ import annotations

import logging

import pytest

from taktora_sim.virtual_logging import VirtualLogging
from taktora_sim.world import EPOCH_UNIX_NS, World

LOG = logging.getLogger("tests.virtual")


@pytest.mark.verifies("REQ_8006")
def test_records_carry_virtual_time(caplog: pytest.LogCaptureFixture) -> None:
    with World() as world, VirtualLogging(world), caplog.at_level(logging.INFO):
        world.call_at(1_234_567_890, lambda: LOG.info("half %s", "way"))
        world.run_for(2_000_000_000)

    (record,) = caplog.records
    assert record.getMessage() == "half way"
    assert record.created == (EPOCH_UNIX_NS + 1_234_567_890) / 1e9
    assert (record.msecs, record.relativeCreated, vars(record)["virtual_ns"]) == (234, 1234.56789, 1_234_567_890)


@pytest.mark.verifies("REQ_8006")
def test_the_factory_is_as_before_when_the_run_is_over() -> None:
    before = logging.getLogRecordFactory()

    with pytest.raises(ZeroDivisionError), World() as world, VirtualLogging(world):
        raise ZeroDivisionError

    assert logging.getLogRecordFactory() is before
