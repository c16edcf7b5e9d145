"""How long a report takes on a large project: 5000 requirements, 10 000 results; it measures and judges nothing else.

python benchmarks/bench_report.py [--requirements 5000] [--results 10000]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from conditions import conditions

from taktora.traceability import Project, Result, Run, load_catalogue, update_results, write_reports
from taktora.traceability.hashing import TestSources

AREAS = 20
TESTS_A_FILE = 50
_SETTINGS = '[project]\nname = "large"\n[tool.taktora.trace]\ncode = ["src"]\n'


def build_project(root: Path, requirements: int, results: int) -> None:
    """Write a project with catalogue, sources, tests and results; the same numbers give the same files."""
    (root / "pyproject.toml").write_text(_SETTINGS)
    for folder in ("requirements", "src", "tests"):
        (root / folder).mkdir()
    for area in range(AREAS):
        (root / "requirements" / f"area{area:02}.toml").write_text(_catalogue(area, requirements))
        marks = "".join(
            f"# req: REQ_{number:05}\nX{number} = {number}\n" for number in range(area, requirements, AREAS)
        )
        (root / "src" / f"area{area:02}.py").write_text(marks)
    for start in range(0, results, TESTS_A_FILE):
        body = "".join(
            f"def test_{number}() -> None:\n    assert {number} >= 0\n" for number in _file_of(start, results)
        )
        (root / "tests" / f"test_{start // TESTS_A_FILE:04}.py").write_text(body)
    update_results(root / "reports" / "results" / "sim.json", _results(root, requirements, results))


def _file_of(start: int, results: int) -> range:
    return range(start, min(start + TESTS_A_FILE, results))


def _catalogue(area: int, requirements: int) -> str:
    parts = [f'[[feature]]\nid = "FEAT_{area:03}"\ntitle = "Feature {area}"\nsummary = "Holds area {area}."\n']
    for number in range(area, requirements, AREAS):
        words = f"The unit {number} shall answer a request of kind {number % 7} within {number % 90 + 10} ms. " * 3
        parts.append(
            f'[[requirement]]\nid = "REQ_{number:05}"\ntitle = "Answer of unit {number}"\nstatement = "{words}"\n'
            f'refines = ["FEAT_{area:03}"]\nkind = "functional"\nverification = "test"\n'
        )
    return "\n".join(parts)


def _results(root: Path, requirements: int, results: int) -> list[Result]:
    texts = {item.id: item.text_hash for item in load_catalogue([root / "requirements"]).requirements}
    sources = TestSources(root)
    run = Run(commit="0" * 40, python="CPython", versions={"pytest": "9"})
    made = []
    for number in range(results):
        name = f"REQ_{number % requirements:05}"
        node = f"tests/test_{number // TESTS_A_FILE:04}.py::test_{number}"
        made.append(
            Result(
                node_id=node,
                world=("sim", "rig")[number // requirements % 2],
                outcome="failed" if number % 500 == 499 else "passed",
                finished_unix_ns=1_700_000_000_000_000_000 + number * 1_000_000,
                run=run,
                verifies=(name,),
                duration_s=number % 100 / 1000,
                test_hash=sources.hash_of(node) or "",
                texts={name: texts[name]},
                linked={name: texts[name]},
                seed=str(number),
            )
        )
    return made


def time_report(root: Path) -> dict[str, float]:
    """Return the seconds of each step of `taktora trace report` on the project at `root`."""
    start = time.perf_counter()
    data = Project(root).data()
    joined = time.perf_counter()
    write_reports(data, root / "reports" / "trace")
    written = time.perf_counter()
    return {"join": joined - start, "write": written - joined, "report": written - start}


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=int, default=5000)
    parser.add_argument("--results", type=int, default=10_000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        build_project(Path(folder), wanted.requirements, wanted.results)
        times = time_report(Path(folder))
        page = (Path(folder) / "reports" / "trace" / "index.html").stat().st_size
    print(conditions())
    print(f"{wanted.requirements} requirements, {wanted.results} results, page {page / 1e6:.1f} MB")
    for name, seconds in times.items():
        print(f"  {name:<7} {seconds:6.2f} s")


if __name__ == "__main__":
    main()
