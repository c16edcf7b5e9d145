"""Faults on a bench by commands of its bench file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from taktora.app.bench import Injector, load_bench
from taktora.errors import ConfigurationError
from taktora_hil.arming import why_no_injector
from taktora_hil.ethercat_bench import RealEthercat
from taktora_hil.injectors import inject

MACHINE = Path(__file__).parents[2] / "contract/ethercat/machine.yaml"


def writing(file: Path, word: str) -> tuple[str, ...]:
    """Return a command that appends a word to a file, in the place of a relay."""
    return (sys.executable, "-c", f"open({str(file)!r}, 'a').write({word!r})")


def fail_while_cut(log: Path) -> None:
    assert log.read_text() == "cut "
    raise ZeroDivisionError


def failing(word: str) -> tuple[str, ...]:
    return (sys.executable, "-c", f"raise SystemExit({word!r})")


@pytest.mark.verifies("REQ_8509")
def test_the_bench_cuts_what_its_file_says_and_heals_it_whatever_happens(tmp_path: Path) -> None:
    log = tmp_path / "relay"
    lines = [
        f"begin = {list(writing(log, 'cut '))}",
        f"end = {list(writing(log, 'heal '))}",
    ]
    path = tmp_path / "bench.toml"
    path.write_text("\n".join(['bench = "lab-3"', '[injectors."axis:cut-cable"]', *lines, ""]))

    with RealEthercat(MACHINE, "eth1", bench=load_bench(path)) as bench:
        with pytest.raises(ZeroDivisionError), bench.fault("cut-cable", "axis"):
            fail_while_cut(log)
        with pytest.raises(ConfigurationError, match=r"^no injector for 'cut-cable' of 'valves' on this bench; "):
            bench.fault("cut-cable", "valves")

    assert log.read_text() == "cut heal "
    assert why_no_injector(("cut-cable",), {"TAKTORA_BENCH": str(path)}) == ""
    assert why_no_injector(("cut-cable", "power-cycle"), {"TAKTORA_BENCH": str(path)}) == (
        "not run: no injector for power-cycle on bench 'lab-3'"
    )


@pytest.mark.verifies("REQ_8509", "REQ_8510")
def test_an_injector_that_fails_is_named_with_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / "relay"
    jammed = Injector(begin=failing("jammed"), end=writing(log, "heal"))

    with pytest.raises(ConfigurationError) as caught, inject(jammed, "cut-cable"):
        pytest.fail("the fault is not there")

    shown = " ".join(jammed.begin)
    assert str(caught.value) == (
        f"injector 'cut-cable', begin: {shown!r} ended with exit status 1; it said last: jammed"
    )
    assert log.read_text() == "heal"


@pytest.mark.verifies("REQ_8509", "REQ_8510")
def test_an_injector_that_is_not_there_or_never_done_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"begin: 'no-such-relay off' cannot be started \("):
        inject(Injector(begin=("no-such-relay", "off")), "cut-cable").__enter__()
    sleeper = Injector(begin=(sys.executable, "-c", "import time; time.sleep(60)"), timeout_s=0.2)
    with pytest.raises(ConfigurationError, match=r"was not done within 0.2 s \(timeout_s\)$"):
        inject(sleeper, "cut-cable").__enter__()
