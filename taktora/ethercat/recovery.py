"""One recovery episode: attempts to bring the segment up again as long as the policy allows; it waits by yielding."""

from __future__ import annotations

from collections.abc import Callable

from taktora.clock import Clock
from taktora.connector.health import Connecting, Degraded, Down, Up
from taktora.connector.reconnect import EXHAUSTED, ReconnectPolicy
from taktora.errors import ConnectorError, LinkDown
from taktora.ethercat.driver import BringUp, BusDriver, Steps
from taktora.ethercat.health import BusHealth, recover_failed

__all__ = ["recover_bus"]


# req: REQ_0331, REQ_0332, REQ_0333
def recover_bus(
    driver: BusDriver, clock: Clock, policy: ReconnectPolicy, health: BusHealth, adopt: Callable[[BringUp], None]
) -> Steps[bool]:
    """Try after each back-off of ``policy``; return True once up again, False after the final Down.

    Health goes from Degraded to Connecting before each attempt, then to Up, or back to Degraded with the reason; to
    Down when the policy ends or the interface is gone.

    Args:
        driver: Already brought up once.
        clock: Its clock.
        policy: A fresh one for each episode.
        health: Degraded when the episode begins.
        adopt: Takes over what an attempt found; what it raises makes the attempt fail.
    """
    while (delay_ns := policy.next_backoff()) is not None:
        yield clock.now_ns() + delay_ns
        health.move(Connecting(clock.now_ns()))
        try:
            adopt((yield from driver.recover()))
        except LinkDown as error:
            health.move(Down(recover_failed(error), clock.now_ns(), is_final=True))
            return False
        except ConnectorError as error:
            health.move(Degraded(recover_failed(error)))
        else:
            health.move(Up())
            return True
    health.move(Down(EXHAUSTED, clock.now_ns(), is_final=True))
    return False
