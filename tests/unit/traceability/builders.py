"""Small projects for the tests of traceability."""

from __future__ import annotations

from pathlib import Path

from taktora.traceability import Catalogue, Result, Run, Today, load_catalogue

FEATURE = '[[feature]]\nid = "FEAT_0001"\ntitle = "Stopping"\nsummary = "How the axis stops."\n'
SECOND = 1_000_000_000


def requirement(name: str, above: str = "FEAT_0001", extra: str = "", statement: str = "It shall stop.") -> str:
    return (
        f'[[requirement]]\nid = "{name}"\ntitle = "Title of {name}"\nstatement = "{statement}"\n'
        f'refines = ["{above}"]\nkind = "functional"\n'
        + ('verification = "test"\n' if "verification" not in extra else "")
        + f"{extra}\n"
    )


def specification(name: str, *verifies: str) -> str:
    links = ", ".join(f'"{one}"' for one in verifies)
    return f'[[test]]\nid = "{name}"\ntitle = "Spec"\nstatement = "Do it."\nlevel = "unit"\nverifies = [{links}]\n'


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stem, text in files.items():
        (folder / f"{stem.replace('_', '-')}.toml").write_text(text)
    return folder


def catalogue(folder: Path, *parts: str) -> Catalogue:
    return load_catalogue([write(folder, axis="\n".join([FEATURE, *parts]))], folder)


def result(
    name: str = "tests/test_a.py::test_x",
    world: str = "sim",
    outcome: str = "passed",
    at_s: int = 1,
    verifies: tuple[str, ...] = ("REQ_0001",),
    **more: object,
) -> Result:
    fields: dict[str, object] = {"run": Run(commit="c0ffee", application_hash="app"), "test_hash": "source", **more}
    return Result(
        node_id=name,
        world=world,
        outcome=outcome,  # type: ignore[arg-type]
        finished_unix_ns=at_s * SECOND,
        verifies=verifies,
        **fields,  # type: ignore[arg-type]
    )


def unchanged() -> Today:
    return Today(lambda _: "source", "app")
