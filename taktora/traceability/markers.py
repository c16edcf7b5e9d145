"""Reads the ids that a test names and says what is wrong with them; it never changes which tests run."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from typing import TYPE_CHECKING

from taktora.traceability.ids import is_id, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from taktora.traceability.model import Catalogue

__all__ = ["Marked", "literal_ids", "misspelt", "resolve"]

_WANTED = {"verifies": "requirement", "realizes": "test"}
_WORD = {"requirement": "a requirement", "test": "a test specification", "feature": "a feature", "block": "a block",
         "decision": "a decision", "scenario": "a scenario"}  # fmt: skip
_MEANT = dict.fromkeys(("verify", "verifys", "verifes", "verified"), "verifies") | dict.fromkeys(
    ("realise", "realises", "realised", "realize", "realized"), "realizes"
)
_OTHER = {"test": "use @pytest.mark.realizes", "requirement": "use @pytest.mark.verifies"}


@dataclass(frozen=True, slots=True)
class Marked:
    """The ids of one test: requirements (named or implied by a specification), specifications, and complaints."""

    verifies: tuple[str, ...] = ()
    realizes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


# req: REQ_8601
def resolve(marks: Iterable[tuple[str, Sequence[object]]], catalogue: Catalogue) -> Marked:
    """Return the ids behind (marker name, arguments) pairs; what a specification verifies is implied."""
    verifies: dict[str, None] = {}
    realizes: dict[str, None] = {}
    problems: list[str] = []
    for mark, args in marks:
        problems += [] if args else [f"{mark}() names no id"]
        for arg in args:
            problem = _check(mark, arg, catalogue)
            if problem:
                problems.append(problem)
            elif mark == "verifies":
                verifies[str(arg)] = None
            else:
                realizes[str(arg)] = None
                verifies.update(dict.fromkeys(catalogue.specified_requirements(str(arg))))
    return Marked(tuple(verifies), tuple(realizes), tuple(problems))


def _check(mark: str, arg: object, catalogue: Catalogue) -> str:
    wanted = _WANTED[mark]
    if not isinstance(arg, str):
        return (
            f'{mark}({arg!r}) needs ids as texts, as in {mark}("{"REQ_0310" if mark == "verifies" else "TEST_0200"}")'
        )
    several = arg.replace(",", " ").split()
    if len(several) > 1 and all(is_id(one) for one in several):
        apart = ", ".join(f'"{one}"' for one in several)
        return f'{mark}("{arg}"): one id per text, as in {mark}({apart})'
    if arg not in catalogue:
        alike = [item.id for item in catalogue.table(wanted)]
        near = nearest(arg, alike) or nearest(arg, catalogue.items)
        hint = f"did you mean {', '.join(near)}?" if near else "no known id is similar"
        return f'{mark}("{arg}"): unknown id; {hint}'
    found = catalogue[arg].table
    if found != wanted:
        hint = _OTHER.get(found, f"name {_WORD[wanted]}")
        return f'{mark}("{arg}"): {arg} is {_WORD[found]}, not {_WORD[wanted]}; {hint}'
    return ""


def misspelt(names: Iterable[str]) -> list[str]:
    """Return a sentence for each marker that looks like one of ours and would link a test to nothing."""
    found = [(name, _MEANT[name]) for name in dict.fromkeys(names) if name in _MEANT]
    return [f"@pytest.mark.{name} links to nothing; use @pytest.mark.{meant}" for name, meant in found]


def literal_ids(source: str) -> list[tuple[str, list[str]]]:
    """Return the marks written out in a test file, for a file that cannot be imported; none where it is no Python."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return []
    return [
        (node.func.attr, [text for arg in node.args if (text := _literal(arg))])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _WANTED
    ]


def _literal(node: ast.expr) -> str:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, str) and is_id(value) else ""
