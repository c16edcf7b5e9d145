"""The App facade: declared once, the same in a World and on the wall clock."""

from __future__ import annotations

import sys
import threading

import msgspec
import pytest

from taktora.app import App, Context, Reader
from taktora.codec import JsonCodec
from taktora.connector import ChannelReader
from taktora.errors import ConfigurationError, ItemError, ShutdownError
from taktora.executor import Executor, TaskFailed
from taktora.runtime import RunHandle, Runtime
from taktora.testing import Corrupt, FaultyTransport
from taktora.transport.base import Transport
from taktora.transport.inprocess import InProcessTransport
from taktora_sim.world import World

MS = 1_000_000
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="iceoryx2 is for Linux here")


class Count(msgspec.Struct, frozen=True):
    number: int


class Chatter:
    """A sender that can be silenced, and what the application noticed of it."""

    def __init__(self) -> None:
        self.silent = False
        self.noted: list[tuple[str, int]] = []
        self.app = App("chatter")
        counts = self.app.channel("counts", Count, max_age_ms=5)

        @self.app.cyclic(every_ms=1)
        def send(ctx: Context) -> None:
            if not self.silent:
                counts.send(Count(ctx.now_ns))

        @self.app.on_lost(counts, executor="watch")
        def lost(ctx: Context) -> None:
            self.noted.append(("lost", ctx.now_ns))

        @self.app.on_found(counts, executor="watch")
        def found(ctx: Context) -> None:
            self.noted.append(("found", ctx.now_ns))


class Word(msgspec.Struct, frozen=True):
    text: str


@pytest.mark.verifies("REQ_8510")
@pytest.mark.parametrize("reads_first", [True, False])
def test_what_cannot_be_decoded_keeps_no_sender_alive(reads_first: bool) -> None:
    app, noted = App("mumbler"), list[tuple[str, int]]()
    counts = app.channel("counts", Count, max_age_ms=5)
    words = Word("not a count")

    @app.cyclic(every_ms=1)
    def send(ctx: Context) -> None:
        is_clear = not 20 < ctx.now_ns // MS <= 40
        counts.send(Count(1) if is_clear else words)  # type: ignore[arg-type]

    def read(_ctx: Context) -> None:
        counts.take()

    def lost(ctx: Context) -> None:
        noted.append(("lost", ctx.now_ns // MS))
        assert not counts.fresh

    def found(ctx: Context) -> None:
        noted.append(("found", ctx.now_ns // MS))

    if reads_first:
        app.on(counts)(read)
    app.on_lost(counts)(lost)
    app.on_found(counts)(found)
    if not reads_first:
        app.on(counts)(read)
    with World(1) as world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(60 * MS)

    assert [kind for kind, _ in noted] == ["lost", "found"]
    assert 25 <= noted[0][1] <= 27
    assert 41 <= noted[1][1] <= 42


def counting_app(seen: list[int], last: int = 5) -> App:
    """Two executors: one counts, the other reads what was counted and ends the run after ``last``."""
    app = App("counting")
    counts = app.channel("counts", Count)
    numbers = iter(range(1, 1000))

    @app.on(counts, executor="reader")
    def read(_ctx: Context) -> None:
        seen.extend(value.number for value in counts.drain())

    @app.cyclic(every_ms=2)
    def count(ctx: Context) -> None:
        if len(seen) >= last:
            ctx.stop_executor()
        else:
            counts.send(Count(next(numbers)))

    return app


def _isolated() -> Transport:
    from taktora.transport.iceoryx import IceoryxTransport

    return IceoryxTransport(isolated=True)


@pytest.mark.verifies("REQ_8021", "REQ_8013")
def test_an_app_runs_in_a_world() -> None:
    seen: list[int] = []
    with World() as world, counting_app(seen).bind(world.runtime) as bound:
        bound.start()

        world.run_for(100 * MS)

    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.verifies("REQ_8021", "REQ_8013")
@pytest.mark.parametrize("transport", ["inprocess", pytest.param("iceoryx2", marks=LINUX)])
def test_the_same_app_runs_on_the_wall_clock(transport: str) -> None:
    seen: list[int] = []
    runtime = Runtime.system(_isolated() if transport == "iceoryx2" else "inprocess")

    with counting_app(seen).bind(runtime) as bound:
        bound.run(5_000 * MS)
    runtime.close()

    assert seen[:5] == [1, 2, 3, 4, 5]


@pytest.mark.verifies("REQ_8021", "REQ_8002")
def test_both_carriers_of_a_world_give_one_hash() -> None:
    def run(carrier: str) -> str:
        with World(transport=carrier) as world, counting_app([], 1000).bind(world.runtime) as bound:  # type: ignore[arg-type]
            bound.start()
            world.run_for(100 * MS)
            return world.trace.sha256()

    assert run("inprocess") == run("iceoryx2" if sys.platform == "linux" else "inprocess")


@pytest.mark.verifies("REQ_8021")
def test_a_lost_sender_is_noticed_after_its_max_age_and_found_again_at_once() -> None:
    chatter = Chatter()
    with World() as world, chatter.app.bind(world.runtime) as bound:
        bound.start()

        world.call_at(20 * MS + 1, lambda: setattr(chatter, "silent", True))
        world.call_at(40 * MS + 1, lambda: setattr(chatter, "silent", False))
        world.run_for(60 * MS)

    assert chatter.noted == [("lost", 25 * MS), ("found", 41 * MS)]


@pytest.mark.verifies("REQ_8021")
def test_a_sender_that_never_spoke_is_not_lost() -> None:
    chatter = Chatter()
    chatter.silent = True
    with World() as world, chatter.app.bind(world.runtime) as bound:
        bound.start()

        world.run_for(60 * MS)

    assert chatter.noted == []


@pytest.mark.verifies("REQ_8021")
def test_reader_knows_latest_age_and_freshness() -> None:
    app = App("ages")
    channel = app.channel("c", Count, max_age_ms=3)
    with World() as world, app.bind(world.runtime):
        before = (channel.latest, channel.age_ns, channel.fresh, channel.take())
        channel.send(Count(1))
        channel.send(Count(2))
        taken = channel.take()
        world.run_for(3 * MS - 1)
        before_limit = channel.fresh
        world.run_for(1)

        assert before == (None, None, False, None)
        assert taken == Count(2)
        assert (before_limit, channel.fresh) == (True, False)
        assert (channel.received, channel.writer.sent) == (2, 2)


@pytest.mark.verifies("REQ_8021", "REQ_0214")
def test_what_cannot_be_decoded_is_counted_told_once_and_costs_nothing_else() -> None:
    sender, receiver = App("shared"), App("other")
    out = sender.channel("c", dict)
    into: Reader[Count] = receiver.channel("c2", Count)
    with World() as world, sender.bind(world.runtime) as bound:
        into.attach(_reader(world), world.recorder)
        for value in ({"number": 1}, {"nummer": 2}, {"number": "x"}, {"number": 4}):
            out.send(value)

        got = [value.number for value in into.drain()]

        assert got == [1, 4]
        assert into.decode_errors == 2
        assert [event.severity for event in world.recorder.events] == ["warning"]
        assert "cannot decode" in world.recorder.events[0].text
        into.port.close()
        assert bound.health == {}


def _reader(world: World) -> ChannelReader[Count, JsonCodec]:
    return ChannelReader(world.transport, "shared.c", 512, JsonCodec(), Count, world)


@pytest.mark.verifies("REQ_8021")
def test_an_item_that_fails_on_purpose_ends_the_run_with_its_reason() -> None:
    app = App("failing")

    @app.cyclic(every_ms=1)
    def fail(_ctx: Context) -> None:
        msg = "no paper"
        raise ItemError(msg)

    with World() as world:
        bound = app.bind(world.runtime)
        bound.start()

        with pytest.raises(Exception, match="no paper"):
            world.run_for(10 * MS)
        with pytest.raises(Exception, match="no paper"):
            bound.close()


@pytest.mark.verifies("REQ_8021", "REQ_8510")
def test_two_apps_of_one_name_in_one_world_are_refused_by_name_until_the_first_is_closed() -> None:
    def build() -> App:
        app = App("pick")
        app.channel("parts", int)
        return app

    with World() as world:
        with (
            build().bind(world.runtime),
            pytest.raises(
                ConfigurationError, match=r"App 'pick': another App of this name .* \(sim\); close that binding first"
            ),
        ):
            build().bind(world.runtime)
        with build().bind(world.runtime) as again:
            assert again.app.runtime is world.runtime


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("transport", ["inprocess", pytest.param("iceoryx2", marks=LINUX)])
def test_an_executor_that_fails_ends_the_whole_application_at_once(transport: str) -> None:
    app, ran = App("failing"), []

    @app.cyclic(every_ms=5)
    def work(ctx: Context) -> None:
        ran.append(ctx.now_ns)

    @app.cyclic(every_ms=20, executor="side")
    def fail(_ctx: Context) -> None:
        if ran:  # the other one runs by now: it has something to end
            msg = "no ink"
            raise ItemError(msg)

    runtime = Runtime.system(_isolated() if transport == "iceoryx2" else "inprocess")
    bound = app.bind(runtime)
    bound.run(20_000 * MS)

    with pytest.raises(TaskFailed, match="no ink"):
        bound.close()
    runtime.close()
    assert 0 < len(ran) < 1000


@pytest.mark.verifies("TSR_0008")
def test_a_corrupt_envelope_on_a_channel_of_the_app_is_counted_and_told_once() -> None:
    app = App("noisy")
    channel = app.channel("c", Count)
    runtime = Runtime.system(FaultyTransport(InProcessTransport()))
    runtime.transport.on_publish("noisy.c", 1, Corrupt(520))  # type: ignore[attr-defined]
    told: list[str] = []
    runtime.recorder.notice = lambda text, severity="info": told.append(f"{severity} {text}")  # type: ignore[method-assign]
    with app.bind(runtime):
        for number in range(4):
            channel.send(Count(number))

        assert [value.number for value in channel.drain()] == [0, 2, 3]
        assert channel.integrity_faults >= 1
        assert len(told) == 1
        assert told[0].startswith("warning noisy.c: corrupt envelope, counted from now on")
    runtime.close()


@pytest.mark.verifies("REQ_8021")
def test_signals_and_events_go_to_the_recorder_of_the_world() -> None:
    app = App("telling")
    level = app.signal("level", unit="mm")

    @app.cyclic(every_ms=1)
    def tell(ctx: Context) -> None:
        level.set(ctx.now_ns / MS)
        ctx.event("tick", "warning")

    with World() as world, app.bind(world.runtime) as bound:
        bound.start()
        world.run_for(3 * MS)

        assert list(world.recorder.signals["level"].values) == [1.0, 2.0, 3.0]
        assert [(event.t_ns, event.severity, event.text) for event in world.recorder.events] == [
            (at * MS, "warning", "tick") for at in (1, 2, 3)
        ]


@pytest.mark.verifies("REQ_8021")
def test_an_app_can_be_bound_again_after_closing_and_not_twice_at_once() -> None:
    app = App("again")
    channel = app.channel("c", Count)
    with World() as world:
        with app.bind(world.runtime):
            channel.send(Count(1))
            with pytest.raises(ConfigurationError, match="App 'again' is bound already"):
                app.bind(world.runtime)
        with app.bind(world.runtime):
            assert channel.take() is None


@pytest.mark.verifies("REQ_8021")
def test_handles_of_an_unbound_app_say_so() -> None:
    app = App("loose")
    channel, signal = app.channel("c", Count), app.signal("s")

    with pytest.raises(ConfigurationError, match=r"loose\.c: the App is not bound"):
        channel.send(Count(1))
    with pytest.raises(ConfigurationError, match="signal 's': the App is not bound"):
        signal.set(1.0)
    with pytest.raises(ConfigurationError, match="App 'loose' is not bound to a world"):
        _ = app.runtime


@pytest.mark.verifies("REQ_8021")
@pytest.mark.parametrize("name", ["", "a b", "a/b"])
def test_a_name_that_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="App name"):
        App(name)


@pytest.mark.verifies("REQ_8021")
def test_declarations_that_make_no_sense_are_refused() -> None:
    app = App("wrong")
    channel = app.channel("c", Count)

    with pytest.raises(ConfigurationError, match="channel 'c' is declared twice"):
        app.channel("c", Count)
    with pytest.raises(ConfigurationError, match="every_ms is 0"):
        app.cyclic(every_ms=0)
    with pytest.raises(ConfigurationError, match="on_lost and on_found need a reader with max_age_ms"):
        app.on_lost(channel)(lambda _ctx: None)
    with pytest.raises(ConfigurationError, match=r"wrong\.d: max_age_ms is -1"):
        app.channel("d", Count, max_age_ms=-1)


@pytest.mark.verifies("REQ_8021")
def test_two_items_of_one_name_are_refused() -> None:
    app = App("twins")

    def tick(_ctx: Context) -> None:
        """Do nothing."""

    app.cyclic(every_ms=1)(tick)

    with pytest.raises(ConfigurationError, match="two items are called 'tick'"):
        app.cyclic(every_ms=2)(tick)


@pytest.mark.verifies("REQ_8021")
def test_a_bus_without_a_machine_file_is_refused_and_nothing_is_left_open() -> None:
    app = App("busless")
    app.can("vehicle").reader("PackStatus")
    with World() as world:
        with pytest.raises(ConfigurationError, match="uses CAN bus vehicle and no machine file"):
            app.bind(world.runtime)

        with pytest.raises(ConfigurationError, match="is not bound"):
            _ = app.runtime


@pytest.mark.verifies("REQ_8021")
def test_executors_that_have_started_are_stopped_although_a_later_one_does_not_start() -> None:
    app, runtime = App("halfway"), Runtime.system(InProcessTransport())
    start, started = runtime.start, list[Executor]()

    @app.cyclic(every_ms=5)
    def work(_ctx: Context) -> None: ...

    @app.cyclic(every_ms=5, executor="side")
    def side(_ctx: Context) -> None: ...

    def start_two(executor: Executor) -> RunHandle:
        if len(started) == 2:
            raise OSError("no more threads")
        started.append(executor)
        return start(executor)

    runtime.start = start_two
    bound = app.bind(runtime)
    with pytest.raises(OSError, match="no more threads"):
        bound.start()
    bound.close()
    runtime.close()

    assert [executor.name for executor in started] == ["halfway.gateway", "halfway"]
    assert not any(executor.is_running for executor in started)
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("taktora-halfway")]


@pytest.mark.verifies("REQ_8021")
def test_a_host_that_fails_to_close_keeps_nothing_else_open(monkeypatch: pytest.MonkeyPatch) -> None:
    app, runtime, closed = App("stuck"), Runtime.system(InProcessTransport()), list[str]()
    numbers = app.channel("numbers", int)

    @app.on(numbers, executor="side")
    def side(_ctx: Context) -> None: ...

    bound = app.bind(runtime)
    side_executor, port, close_host = bound.executors["side"], numbers.port, bound.host.close
    monkeypatch.setattr(side_executor, "close", lambda: closed.append("side"))

    def close_and_fail() -> None:
        close_host()
        raise OSError("cannot close")

    monkeypatch.setattr(bound.host, "close", close_and_fail)
    with pytest.raises(OSError, match="cannot close"):
        bound.close()

    assert closed == ["side"]
    with pytest.raises(ShutdownError):
        port.try_recv()
    with pytest.raises(ConfigurationError, match="not bound"):
        numbers.take()
    runtime.close()
