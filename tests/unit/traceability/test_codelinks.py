"""Tests of markers in source files."""

from __future__ import annotations

from pathlib import Path

import pytest

from taktora.traceability import CodeLink, scan_code
from taktora.traceability.codelinks import find_in_text


@pytest.mark.verifies("REQ_8607")
@pytest.mark.parametrize(
    ("text", "suffix", "found"),
    [
        pytest.param("x = 1  # req: REQ_0310, REQ_0311\n", ".py", [(1, "REQ_0310"), (1, "REQ_0311")], id="list"),
        pytest.param("#req:REQ_0310\n", ".py", [(1, "REQ_0310")], id="tight"),
        pytest.param("# req: REQ_0310 keeps the order\n", ".py", [(1, "REQ_0310")], id="remark"),
        pytest.param("# req: req_310\n", ".py", [(1, "req_310")], id="no id, to be reported"),
        pytest.param('x = "# req: REQ_0310"\n', ".py", [], id="string"),
        pytest.param('"""\n# req: REQ_0310\n"""\n', ".py", [], id="docstring"),
        pytest.param("# see the req: in the text REQ_0310\n", ".py", [], id="prose"),
        pytest.param("def broken(:\n# req: REQ_0310\n", ".py", [(2, "REQ_0310")], id="broken python"),
        pytest.param("/* req: REQ_0310 */\n\n  // req: REQ_0311\n", ".c", [(1, "REQ_0310"), (3, "REQ_0311")], id="c"),
        pytest.param("-- req: REQ_0310\n; req: REQ_0311\n", ".sql", [(1, "REQ_0310"), (2, "REQ_0311")], id="others"),
        pytest.param("<!-- req: REQ_0310 -->\n", ".html", [(1, "REQ_0310")], id="markup"),
    ],
)
def test_markers_are_comments_that_begin_with_req(text: str, suffix: str, found: list[tuple[int, str]]) -> None:
    assert find_in_text(text, suffix) == found


@pytest.mark.verifies("REQ_8607")
def test_folders_are_scanned_in_order_and_hidden_files_left_out(tmp_path: Path) -> None:
    for name in ("src/b.py", "src/a/c.rs", "src/.cache/d.py", "src/gen/e.py", "src/f.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("# req: REQ_0001\n" if name.endswith(".py") else "// req: REQ_0001\n")

    found = scan_code([tmp_path / "src"], tmp_path, ["src/gen/*"])

    assert found == [CodeLink("REQ_0001", "src/a/c.rs", 1), CodeLink("REQ_0001", "src/b.py", 1)]
