"""The battery monitor: listens to a traction battery, says what it may be asked for, and tells the operator.

This file is the whole application. It names buses, messages and channels and nothing that stands behind them, so it
runs unchanged on a recorded log in virtual time (`taktora sim run scenario.py`), and on a CAN interface
(`python app.py --bench bench.can0.toml`).
"""

from __future__ import annotations

from collections.abc import Callable

from messages import Alarm, CellExtremes, MonitorCommand, PackStatus, PackTemperatures, VehicleMotion
from protection import BatteryTrust, ChargeFilter, Fan, Heat, Imbalance, limits_for

from taktora import App, Context

__all__ = ["build", "show"]


def show(ctx: Context, alarm: Alarm) -> None:
    """Tell the operator: in the log of a real run, on the page of a simulated one."""
    ctx.event(f"{alarm.code}: {alarm.text}", severity="alarm")


def build(tell: Callable[[Context, Alarm], None] = show) -> App:
    """Return the application with fresh state; `tell` is what the operator's side does with an alarm."""
    app = App("battery-monitor", machine="machine.yaml")

    vehicle = app.can("vehicle")
    pack = vehicle.reader(PackStatus, max_age_ms=100)
    cells = vehicle.reader(CellExtremes, max_age_ms=500)
    temperatures = vehicle.reader(PackTemperatures, max_age_ms=500)
    motion = vehicle.reader(VehicleMotion, max_age_ms=200)
    command = vehicle.writer(MonitorCommand)
    alarms = app.channel("alarms", Alarm)

    current = app.signal("pack current", unit="A")
    charge = app.signal("pack charge, filtered", unit="%")
    hottest = app.signal("hottest cell", unit="degC")
    spread = app.signal("cell spread", unit="mV")
    discharge_limit = app.signal("discharge limit", unit="A")
    charge_limit = app.signal("charge limit", unit="A")
    fan_duty = app.signal("fan duty", unit="%")

    trust, charge_filter, fan, heat, imbalance = BatteryTrust(), ChargeFilter(), Fan(), Heat(), Imbalance()

    def raise_alarm(ctx: Context, code: str, text: str) -> None:
        alarms.try_send(Alarm(code, text, at_ms=ctx.now_ns // 1_000_000))

    @app.on(pack)
    def watch_pack(ctx: Context) -> None:
        for status in pack.drain():
            was_trusted = trust.trusted
            if trust.judge(status):
                current.set(status.PackCurrent)
            if trust.trusted and not was_trusted:
                ctx.event("PackStatus has been good for 1 s: the battery is trusted")
            elif was_trusted and not trust.trusted:
                raise_alarm(ctx, "BATTERY_LOST", "PackStatus fails its checksum or its counter; contactors to open")
                send_command()

    @app.on_lost(pack)
    def lose_battery(ctx: Context) -> None:
        trust.lose()
        raise_alarm(ctx, "BATTERY_LOST", "no PackStatus for 100 ms; contactors to open")
        send_command()

    @app.on_found(pack)
    def find_battery(ctx: Context) -> None:
        ctx.event("PackStatus is back; 1 s of good frames and it is trusted again")

    @app.on(cells)
    def watch_cells(ctx: Context) -> None:
        for extremes in cells.drain():
            spread_mv = extremes.CellVoltageMax - extremes.CellVoltageMin
            spread.set(spread_mv)
            if imbalance.begins(spread_mv):
                raise_alarm(ctx, "IMBALANCE", f"cell {extremes.CellNumberMin} is {spread_mv} mV below the highest")

    @app.on(temperatures)
    def watch_temperatures(ctx: Context) -> None:
        for reading in temperatures.drain():
            hottest.set(reading.CellTempMax)
            if heat.begins(reading.CellTempMax):
                raise_alarm(ctx, "HOT", f"the hottest cell has {reading.CellTempMax:.1f} degC; limits are reduced")

    @app.cyclic(every_ms=100, budget_us=5000)
    def control(_ctx: Context) -> None:
        motion.take()
        send_command()

    def send_command() -> None:
        """Compute what the battery may be asked for now, from what is fresh, and say so on the bus."""
        reading = temperatures.latest if temperatures.fresh else None
        limits = limits_for(trust, cells.latest if cells.fresh else None, reading)
        order = MonitorCommand(
            DischargeLimit=limits.discharge_a,
            ChargeLimit=limits.charge_a,
            FanDuty=fan.update(reading, motion.latest if motion.fresh else None),
            ContactorRequest=limits.contactor,
            LimitReason=limits.reason,
            FilteredCharge=charge_filter.update(pack.latest),
        )
        command.try_send(order)
        discharge_limit.set(order.DischargeLimit)
        charge_limit.set(order.ChargeLimit)
        fan_duty.set(order.FanDuty)
        charge.set(order.FilteredCharge)

    @app.on(alarms, executor="operator")
    def tell_operator(ctx: Context) -> None:
        for alarm in alarms.drain():
            tell(ctx, alarm)

    return app


if __name__ == "__main__":
    build().main()
