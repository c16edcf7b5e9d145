"""Virtual versions of the clocks and random sources of the standard library, for the guard's ``redirect`` mode."""

from __future__ import annotations

import datetime as dt
import time
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from taktora_sim.standins import look_alike

if TYPE_CHECKING:
    from taktora_sim.world import World

__all__ = ["virtual_names"]


def virtual_names(world: World, refuse: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """Return, by module and name, what reads virtual time or seeded bits. Civil time without a zone is UTC.

    Args:
        world: Gives time and a random stream of its own.
        refuse: Called for a sleep inside an item, which cannot be redirected; raises.
    """
    draw = _Draw(world.stream("guard/redirect").getrandbits)
    return {
        "time": _time_functions(world, refuse),
        "datetime": {"datetime": _datetime_class(world), "date": _date_class(world)},
        "uuid": {"uuid1": draw.uuid, "uuid4": draw.uuid},
        "os": {"urandom": draw.octets},
        "secrets": {
            "token_bytes": draw.token,
            "token_hex": lambda nbytes=None: draw.token(nbytes).hex(),
            "randbelow": draw.below,
            "choice": lambda items: items[draw.below(len(items))],
        },
    }


class _Draw:
    """Seeded forms of what draws from the operating system."""

    def __init__(self, getrandbits: Callable[[int], int]) -> None:
        self._bits = getrandbits

    def uuid(self, *_arguments: Any, **_named: Any) -> uuid.UUID:
        return uuid.UUID(int=self._bits(128), version=4)

    def octets(self, size: int) -> bytes:
        return self._bits(8 * size).to_bytes(size, "little") if size else b""

    def token(self, nbytes: int | None = None) -> bytes:
        return self.octets(32 if nbytes is None else nbytes)

    def below(self, upper: int) -> int:
        if upper <= 0:
            msg = f"upper bound {upper} is not above 0"
            raise ValueError(msg)
        return self._bits(upper.bit_length() + 64) % upper


def _time_functions(world: World, refuse: Callable[[str], None]) -> dict[str, Callable[..., Any]]:
    def sleep(seconds: float) -> None:
        if world._stepping:  # noqa: SLF001 - whether an item is running is the World's own affair
            refuse("time.sleep()")
        if world.foreign.is_active:
            time.sleep(seconds)  # which is virtual then, and lets the other threads run
        else:
            world.run_for(round(seconds * 1e9))

    def civil(seconds: float | None = None) -> time.struct_time:
        return time.gmtime(world.unix_ns() // 1_000_000_000 if seconds is None else seconds)

    def now_ns() -> int:
        world.foreign.look()
        return world.now_ns()

    def unix_ns() -> int:
        world.foreign.look()
        return world.unix_ns()

    counters = ("monotonic", "perf_counter", "process_time", "thread_time")
    functions: dict[str, Callable[..., Any]] = {name: lambda: now_ns() / 1e9 for name in counters}
    functions |= {f"{name}_ns": now_ns for name in counters}
    functions |= {"time": lambda: unix_ns() / 1e9, "time_ns": unix_ns}
    return functions | {"sleep": sleep, "gmtime": civil, "localtime": civil}


def _datetime_class(world: World) -> type:
    real = dt.datetime

    def now(tz: dt.tzinfo | None = None) -> dt.datetime:
        seconds, rest_ns = divmod(world.unix_ns(), 1_000_000_000)
        utc = real.fromtimestamp(seconds, dt.UTC).replace(microsecond=rest_ns // 1_000)
        return utc.replace(tzinfo=None) if tz is None else utc.astimezone(tz)

    replaced: dict[str, Any] = {"now": now, "utcnow": lambda: now(), "today": lambda: now()}
    named: dict[str, Any] = {name: staticmethod(function) for name, function in replaced.items()}
    return look_alike(real, **named)


def _date_class(world: World) -> type:
    def today() -> dt.date:
        return dt.datetime.fromtimestamp(world.unix_ns() // 1_000_000_000, dt.UTC).date()

    return look_alike(dt.date, today=staticmethod(today))
