"""A bus whose cycle is paced by the gateway's own executor: simulated segments on virtual time, and mocks anywhere.

Single-threaded: everything runs in one item of that executor. A driver that blocks does not belong here, it would hold
up the gateway (REQ_0321); such a one lives in a process of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from taktora.clock import Clock
from taktora.connector.reconnect import ReconnectPolicy
from taktora.errors import ConfigurationError
from taktora.ethercat.driver import BusDriver, Steps
from taktora.ethercat.image import BusListener, ImageLayout
from taktora.ethercat.options import BusPlan
from taktora.ethercat.runner import run_bus
from taktora.ethercat.slices import Buffer
from taktora.executor import Alarm, Context, ExecutableItem, TriggerDeclarer

__all__ = ["LocalBus", "OutputStage"]

_MOST_STEPS = 64
_ALL: Final = slice(None)


class OutputStage:
    """Keeps the outputs staged last, and who was renewed, until the cycle takes them; an ``OutputSource``."""

    __slots__ = ("_clear", "_is_new", "_outputs", "_renewed", "pull")

    def __init__(self, layout: ImageLayout) -> None:
        self.pull: Callable[[], object] | None = None
        """Called before each cycle takes the outputs: has whoever holds newer ones stage them."""
        count = len(layout.subdevices)
        self._outputs = bytearray(layout.output_bytes)
        self._renewed = bytearray(count)
        self._clear = bytes(count)
        self._is_new = False

    def stage(self, outputs: Buffer, renewed: Buffer) -> None:
        """Take a whole output image; renewals add up until the next cycle.

        Raises:
            ConfigurationError: the image or the marks are not as long as the layout says.
        """
        if len(outputs) != len(self._outputs) or len(renewed) != len(self._renewed):
            raise ConfigurationError(
                f"stage_outputs: {len(outputs)} bytes of outputs and {len(renewed)} marks; the layout has "
                f"{len(self._outputs)} bytes and {len(self._renewed)} SubDevices"
            )
        self._outputs[_ALL] = outputs
        if self._is_new:
            for place, mark in enumerate(renewed):
                self._renewed[place] |= mark
        else:
            self._renewed[_ALL] = renewed
            self._is_new = True

    def collect(self, outputs: bytearray, renewed: bytearray) -> None:
        pull = self.pull
        if pull is not None:
            pull()
        if self._is_new:
            outputs[_ALL] = self._outputs
            renewed[_ALL] = self._renewed
            self._is_new = False
        else:
            renewed[_ALL] = self._clear


# req: REQ_0328
class LocalBus:
    """A ``CyclicBus`` stepped by an item; add :meth:`items` to the gateway's executor before it runs.

    Args:
        plan: What the bus consists of and how it is run.
        driver: The MainDevice; never blocks.
        clock: Clock of the gateway's executor, and of the driver.
        make_policy: A fresh policy for each recovery episode.
        name: Name of the connector, for the item.
    """

    def __init__(
        self,
        plan: BusPlan,
        driver: BusDriver,
        clock: Clock,
        make_policy: Callable[[], ReconnectPolicy],
        name: str = "ethercat",
    ) -> None:
        self._plan = plan
        self._driver: Final = driver
        self._clock = clock
        self._make_policy = make_policy
        self._layout = plan.layout()
        self._stage = OutputStage(self._layout)
        self._item = _BusItem(f"{name}.bus", clock)
        self._closed = False

    @property
    def layout(self) -> ImageLayout:
        return self._layout

    def items(self) -> tuple[ExecutableItem, ...]:
        """Return what the gateway adds to its executor."""
        return (self._item,)

    def pull_outputs(self, pull: Callable[[], object]) -> None:
        """Have ``pull`` called before each cycle takes the outputs, to stage what is new: a wake less per cycle."""
        self._stage.pull = pull

    def start(self, listener: BusListener) -> None:
        """Begin the bring-up with the executor's next wake.

        Raises:
            ConfigurationError: started before, or closed.
        """
        if self._closed or self._item.is_started:
            raise ConfigurationError("LocalBus.start: the bus was started or closed before; make a new one")
        steps = run_bus(self._plan, self._driver, self._clock, listener, self._stage, self._make_policy)
        self._item.begin(steps, listener)

    def stage_outputs(self, outputs: Buffer, renewed: Buffer) -> None:
        self._stage.stage(outputs, renewed)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._item.end()
        self._driver.close()


class _BusItem(ExecutableItem):
    """Steps the cycle; what nobody foresaw goes to the listener."""

    def __init__(self, task_id: str, clock: Clock) -> None:
        self.task_id = task_id
        self._alarm = Alarm(task_id)
        self._now = clock.now_ns
        self._steps: Steps[None] | None = None
        self._listener: BusListener | None = None

    @property
    def is_started(self) -> bool:
        return self._listener is not None

    def begin(self, steps: Steps[None], listener: BusListener) -> None:
        self._steps = steps
        self._listener = listener
        self._alarm.set(self._now())

    def end(self) -> None:
        self._alarm.cancel()
        if self._steps is not None:
            self._steps.close()
            self._steps = None

    def declare_triggers(self, declarer: TriggerDeclarer) -> None:
        declarer.alarm(self._alarm)

    def execute(self, context: Context) -> None:  # noqa: ARG002
        self._alarm.take()
        steps = self._steps
        if steps is None:
            return
        try:
            # What is due already is done at once; but a bus that is always late must let the other items run too.
            due_ns = steps.send(None)
            now, left = self._now, _MOST_STEPS - 1
            while left and due_ns <= now():
                due_ns = steps.send(None)
                left -= 1
            self._alarm.set(due_ns)
        except StopIteration:
            self._steps = None
        except Exception as error:
            self._steps = None
            assert self._listener is not None
            self._listener.on_failure(error)
