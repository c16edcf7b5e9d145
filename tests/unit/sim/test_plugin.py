"""What a test run says of its simulated Worlds."""

from __future__ import annotations

import pytest

TESTS = """
    from taktora_sim.world import World

    def test_one(record_property):
        with World(7) as world:
            world.run_for(10)

    def test_two():
        for seed in (1, 2, 1):
            with World(seed) as world:
                world.run_for(seed)
        assert False, "broken"

    def test_none():
        pass
"""


def _run(pytester: pytest.Pytester, *arguments: str) -> pytest.RunResult:
    pytester.makepyfile(TESTS)
    return pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider", *arguments)


@pytest.mark.verifies("REQ_8602")
def test_seed_and_trace_hash_are_evidence_of_the_test(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        def pytest_runtest_logreport(report):
            if report.when == "call":
                print("\\nEVIDENCE", report.nodeid, sorted(name for name, _ in report.user_properties
                      if name in ("seed", "trace_hash")), dict(report.user_properties).get("seed"))
    """)

    lines = _run(pytester, "-s").outlines

    evidence = [line.partition("::")[2] for line in lines if line.startswith("EVIDENCE")]
    assert evidence == ["test_one ['seed', 'trace_hash'] 7", "test_two ['seed', 'trace_hash'] 1,2", "test_none [] None"]


@pytest.mark.verifies("REQ_8009")
def test_a_failed_simulated_test_prints_the_command_that_repeats_it(pytester: pytest.Pytester) -> None:
    first, second = _run(pytester), _run(pytester)

    command = [line for line in first.outlines if line.startswith("repeat it with: ")]
    assert len(command) == 1
    name = "test_a_failed_simulated_test_prints_the_command_that_repeats_it.py::test_two"
    assert command[0].startswith(f"repeat it with: python -m pytest {name}  # seed 1,2, trace sha256:")
    assert command[0] in second.outlines


APP = """
    from taktora import App
    from taktora_sim.world import World

    def build():
        app = App("tank")

        @app.cyclic(every_ms=10)
        def control(ctx):
            if ctx.now_ns >= 30_000_000:
                raise ValueError("level is negative")

        return app

    def run(world):
        with build().bind(world.runtime) as bound:
            bound.start()
            world.run_for(50_000_000)
"""


@pytest.mark.verifies("REQ_8013")
def test_an_item_that_raises_fails_a_test_that_does_not_look(pytester: pytest.Pytester) -> None:
    pytester.makeconftest("""
        import pytest
        from taktora_sim.world import World

        @pytest.fixture
        def world():
            with World(1) as world:
                yield world
    """)
    pytester.makepyfile(
        APP
        + """
    def test_unnoticed():
        with World(1) as world:
            run(world)

    def test_with_the_world_of_a_fixture(world):
        run(world)

    def test_tolerated():
        with World(1) as world:
            world.recorder.tolerates_item_errors = True
            run(world)
"""
    )

    done = pytester.runpytest_subprocess("-p", "no:hypothesispytest", "-p", "no:cacheprovider")

    done.assert_outcomes(passed=1, failed=2)
    done.stdout.fnmatch_lines(
        [
            "not true: tank/control runs without an exception; at 0.030000 s: ValueError: level is neg* in all",
            "*world.recorder.tolerates_item_errors = True",
        ]
    )


@pytest.mark.verifies("REQ_8006")
def test_the_guard_watches_tests_when_asked_to(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("""
        import time
        from taktora_sim.world import World

        def test_clock():
            with World(1) as world:
                world.call_at(5, lambda: time.time())
                world.run_for(10)
            time.time()

        def test_without_a_world():
            time.time()
    """)
    base = ("-p", "no:hypothesispytest", "-p", "no:cacheprovider")

    default = pytester.runpytest_subprocess(*base)
    asked = pytester.runpytest_subprocess(*base, "--sim-guard", "raise")
    redirected = pytester.runpytest_subprocess(*base, "-o", "sim_guard=redirect")

    default.assert_outcomes(passed=2)
    asked.assert_outcomes(passed=1, failed=1)
    asked.stdout.fnmatch_lines(["*EscapeError: *py:6: time.time() in a simulated run*"])
    redirected.assert_outcomes(passed=2)
