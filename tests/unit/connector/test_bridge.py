from __future__ import annotations

import itertools
import threading
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from taktora.connector import Disconnected, Dropped, InboundBridge, OutboundBridge, SendGate, Sent
from taktora.errors import BackPressure
from tests.patience import PATIENCE_S


@pytest.mark.verifies("REQ_0606")
@pytest.mark.parametrize("bridge", [InboundBridge[int], OutboundBridge[int]])
def test_capacity_below_one_becomes_one(bridge: Any) -> None:
    assert bridge("bridge", 0).capacity == 1


@pytest.mark.verifies("REQ_0607")
def test_full_outbound_bridge_refuses_and_takes_again_after_one_was_taken() -> None:
    bridge: OutboundBridge[int] = OutboundBridge("tx", 2)
    bridge.try_send(1)
    bridge.try_send(2)

    with pytest.raises(BackPressure, match="tx is full with 2 messages"):
        bridge.try_send(3)
    taken = bridge.take()
    bridge.try_send(3)

    assert (taken, list(bridge.drain())) == (1, [2, 3])


@pytest.mark.verifies("REQ_0607")
def test_full_outbound_bridge_holds_its_gate() -> None:
    gate = SendGate("can")
    bridge: OutboundBridge[int] = OutboundBridge("tx", 2, gate)

    states = [gate.back_pressured]
    for step in (lambda: bridge.try_send(1), lambda: bridge.try_send(2), bridge.take):
        step()
        states.append(gate.back_pressured)

    assert states == [False, False, True, False]


@pytest.mark.verifies("REQ_0607")
def test_peek_leaves_the_head_for_a_retry() -> None:
    bridge: OutboundBridge[int] = OutboundBridge("tx", 2)
    bridge.try_send(1)

    assert (bridge.peek(), bridge.peek(), bridge.take(), bridge.peek()) == (1, 1, 1, None)


@pytest.mark.verifies("REQ_0608")
def test_full_inbound_bridge_drops_the_new_message_and_counts() -> None:
    bridge: InboundBridge[int] = InboundBridge("rx", 2)

    outcomes = [bridge.put(item) for item in range(4)]

    assert outcomes == [Sent(), Sent(), Dropped(1), Dropped(2)]
    assert list(bridge.drain()) == [0, 1]


@pytest.mark.verifies("REQ_0606")
def test_closed_bridge_is_emptied_and_then_disconnected() -> None:
    inbound: InboundBridge[int] = InboundBridge("rx")
    outbound: OutboundBridge[int] = OutboundBridge("tx")
    inbound.put(1)
    inbound.close()
    outbound.close()

    with pytest.raises(Disconnected):
        inbound.put(2)
    with pytest.raises(Disconnected):
        outbound.try_send(2)
    assert inbound.take() == 1
    with pytest.raises(Disconnected, match="rx is closed and drained"):
        inbound.take()


@pytest.mark.verifies("REQ_0606")
def test_every_put_wakes_even_a_dropped_one() -> None:
    bridge: InboundBridge[int] = InboundBridge("rx", 1)
    woken: list[int] = []
    bridge.listener.set_waker(lambda: woken.append(len(bridge)))

    bridge.put(1)
    bridge.put(2)
    bridge.close()

    assert woken == [1, 1, 1]


class BridgeMachine(RuleBasedStateMachine):
    """A bridge beside the simplest model of one: a deque and a counter."""

    def __init__(self) -> None:
        super().__init__()
        self.bridge: InboundBridge[int] = InboundBridge("rx", 3)
        self.model: deque[int] = deque()
        self.next = 0
        self.dropped = 0

    @rule()
    def put(self) -> None:
        outcome = self.bridge.put(self.next)
        if len(self.model) < 3:
            self.model.append(self.next)
            assert outcome == Sent()
        else:
            self.dropped += 1
            assert outcome == Dropped(self.dropped)
        self.next += 1

    @rule()
    def take(self) -> None:
        assert self.bridge.take() == (self.model.popleft() if self.model else None)

    @precondition(lambda self: self.model)
    @rule()
    def drain(self) -> None:
        assert list(self.bridge.drain()) == list(self.model)
        self.model.clear()

    @invariant()
    def same_length(self) -> None:
        assert (len(self.bridge), self.bridge.full) == (len(self.model), len(self.model) == 3)


BridgeMachine.TestCase.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
TestBridgeMachine = pytest.mark.verifies("REQ_0606", "REQ_0608")(BridgeMachine.TestCase)


class Baton:
    """A controlled scheduler: exactly one of the actors runs, and a given sequence says who goes next.

    Each actor gives the baton back at every lock operation of the bridge, so that every interleaving of the critical
    sections can be provoked.
    """

    def __init__(self, order: list[int], actors: int) -> None:
        self.order = deque(order)
        self.turns = [threading.Semaphore(0) for _ in range(actors)]
        self.back = threading.Semaphore(0)
        self.alive = set(range(actors))
        self.mine = threading.local()

    def step(self) -> None:
        self.back.release()
        assert self.turns[self.mine.index].acquire(timeout=PATIENCE_S)

    def run(self, actors: list[Any]) -> None:
        threads = [threading.Thread(target=self._act, args=(index, actor)) for index, actor in enumerate(actors)]
        for thread in threads:
            thread.start()
        for fair in itertools.count():
            if not self.alive:
                break
            wanted = self.order.popleft() if self.order else fair
            index = sorted(self.alive)[wanted % len(self.alive)]
            self.turns[index].release()
            assert self.back.acquire(timeout=PATIENCE_S), "deadlock"
        for thread in threads:
            thread.join(PATIENCE_S)

    def _act(self, index: int, actor: Any) -> None:
        self.mine.index = index
        assert self.turns[index].acquire(timeout=PATIENCE_S)
        actor()
        self.alive.discard(index)
        self.back.release()


class SteppedLock:
    """Gives the baton away until the lock is free, and once more before it is taken and after it was released."""

    def __init__(self, baton: Baton) -> None:
        self.baton = baton
        self.lock = threading.Lock()

    def __enter__(self) -> None:
        self.baton.step()
        while not self.lock.acquire(blocking=False):
            self.baton.step()
        self.baton.step()

    def __exit__(self, *_: object) -> None:
        self.lock.release()
        self.baton.step()


@pytest.mark.verifies("REQ_0606", "REQ_0607")
@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 1), min_size=20, max_size=120), st.integers(1, 3))
def test_each_frame_is_taken_once_and_in_order_under_any_interleaving(order: list[int], capacity: int) -> None:
    baton = Baton(order, 2)
    bridge: OutboundBridge[int] = OutboundBridge("tx", capacity, SendGate("can"))
    bridge._lock = SteppedLock(baton)  # type: ignore[assignment]
    sent: list[int] = []
    taken: list[int] = []

    def produce() -> None:
        for frame in range(6):
            try:
                bridge.try_send(frame)
            except BackPressure:
                continue
            sent.append(frame)
        bridge.close()

    def consume() -> None:
        while True:
            try:
                frame = bridge.take()
            except Disconnected:
                return
            if frame is not None:
                taken.append(frame)

    baton.run([produce, consume])

    assert taken == sent
    assert sent[0] == 0


@pytest.mark.verifies("REQ_0606", "REQ_0607")
def test_two_producers_and_a_sleeping_consumer_lose_nothing() -> None:
    bridge: OutboundBridge[tuple[int, int]] = OutboundBridge("tx", 8)
    awake = threading.Event()
    taken: list[tuple[int, int]] = []
    bridge.listener.set_waker(awake.set)

    def produce(actor: int) -> None:
        for number in range(2_000):
            while True:
                try:
                    bridge.try_send((actor, number))
                    break
                except BackPressure:
                    awake.set()
                    threading.Event().wait(0.00001)

    def consume() -> None:
        while len(taken) < 4_000 and awake.wait(PATIENCE_S):
            awake.clear()
            bridge.listener.drain()
            taken.extend(bridge.drain())

    threads = [threading.Thread(target=produce, args=(actor,)) for actor in (0, 1)]
    threads.append(threading.Thread(target=consume))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)

    assert [number for actor, number in taken if actor == 0] == list(range(2_000))
    assert [number for actor, number in taken if actor == 1] == list(range(2_000))
