"""What the World orders at one instant, whose draws are whose, and what of a choice is in the trace."""

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from taktora.executor import Context, TriggerDeclarer, item_with_triggers
from taktora_sim.streams import Stream
from taktora_sim.trace import read_trace
from taktora_sim.world import URGENT, World

MS = 1_000_000


class Number(ctypes.Structure):
    _fields_ = (("value", ctypes.c_uint64),)


@pytest.mark.verifies("REQ_8001")
def test_calls_posted_for_one_instant_are_made_in_order_of_posting_after_the_urgent_ones() -> None:
    order: list[str] = []
    with World() as world:
        world.post(lambda: order.append("post 1"))
        world.call_soon(lambda: order.append("soon 1"))
        world.post_at(0, lambda: order.append("at 1"))
        world.post(lambda: order.append("post 2"))
        world.post_at(0, lambda: order.append("urgent"), URGENT)
        world.call_soon(lambda: order.append("soon 2"))

        world.run_for(MS)

    assert order == ["urgent", "post 1", "soon 1", "at 1", "post 2", "soon 2"]


@pytest.mark.verifies("REQ_8003")
def test_each_component_of_a_world_draws_from_a_stream_of_its_own() -> None:
    with World(7) as world:
        draws = {path: world.stream(path).getrandbits(64) for path in ("plant/a", "plant/b", "entropy")}

    assert draws == {path: Stream(7, path).getrandbits(64) for path in draws}
    assert len(set(draws.values())) == 3


def _order_of(seed: int, file: Path) -> tuple[list[str], list[bytes]]:
    """Return in which order four tasks ran that are ready at one instant, and what the trace tells of the choice."""
    order: list[str] = []

    def note(context: Context) -> None:
        order.append(context.task_id)

    with World(seed, trace_file=file) as world:
        world.executions.seeded_order = True
        executor = world.runtime.executor_builder("app").build()
        for name in "abcd":
            executor.add(item_with_triggers(lambda d: d.interval(MS), note), name)
        executor.run_n(3)
    return order, [record.payload for record in read_trace(file) if record.kind == "order"]


@pytest.mark.verifies("REQ_8012")
def test_the_order_drawn_for_tasks_that_are_ready_together_is_in_the_trace(tmp_path: Path) -> None:
    order, told = _order_of(3, tmp_path / "order.trace")

    indices = ["abcd".index(name) for name in order]
    assert [bytes(payload) for payload in told] == [
        b"".join(index.to_bytes(2, "little") for index in indices[start : start + 4]) for start in (0, 4, 8)
    ]
    assert indices != [0, 1, 2, 3] * 3


@pytest.mark.verifies("REQ_8011")
def test_what_an_item_without_duration_sends_is_visible_at_once_after_a_slow_one() -> None:
    seen: list[tuple[int, int]] = []
    with World() as world:
        world.executions.set("slow", 3 * MS)
        executor = world.runtime.executor_builder("app").build()
        channel = executor.channel("numbers", Number)
        publisher, subscriber = channel.publisher(), channel.subscriber()

        def declare_slow(declarer: TriggerDeclarer) -> None:
            declarer.interval(10 * MS)

        def send(context: Context) -> None:
            publisher.send_copy(Number(context.now_ns() // MS))

        def take(context: Context) -> None:
            seen.extend((number.value, context.now_ns() // MS) for number in subscriber.drain())

        executor.add(item_with_triggers(declare_slow, lambda _context: None), "slow")
        executor.add(item_with_triggers(lambda d: d.interval(4 * MS), send), "quick")
        executor.add(item_with_triggers(lambda d: d.subscriber(subscriber), take), "reader")
        executor.run_for(30 * MS)

    assert seen == [(at_ms, at_ms) for at_ms in (4, 8, 13, 16, 23, 24, 28)]
