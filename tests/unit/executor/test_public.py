"""The public list of the package, and where its one third-party import lives."""

from __future__ import annotations

import subprocess
import sys

import pytest

import taktora.executor


@pytest.mark.verifies("REQ_0122")
def test_every_public_name_is_there_and_listed_once() -> None:
    names = taktora.executor.__all__

    assert len(names) == len(set(names))
    assert all(hasattr(taktora.executor, name) for name in names)


@pytest.mark.verifies("REQ_0122")
def test_importing_the_executor_loads_no_protocol_and_no_iceoryx2() -> None:
    code = (
        "import sys, taktora.executor, taktora.executor.portable\n"
        "print(sorted(m for m in sys.modules if m.split('.')[0] in ('iceoryx2', 'can', 'zenoh', 'simpy')))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout.strip() == "[]"
