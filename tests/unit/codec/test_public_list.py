"""What the codec package offers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import taktora.codec
from tests.patience import PATIENCE_S


@pytest.mark.verifies("REQ_0211", "REQ_0212")
def test_package_offers_codecs_and_no_lookup_by_name() -> None:
    functions = [name for name in taktora.codec.__all__ if callable(getattr(taktora.codec, name)) and name.islower()]

    assert {"JsonCodec", "MsgPackCodec", "BinaryCodec", "U16"} <= set(taktora.codec.__all__)
    assert functions == []


@pytest.mark.verifies("REQ_0212")
def test_codecs_need_no_optional_package() -> None:
    program = "import sys, taktora.codec; assert not {'cantools', 'iceoryx2', 'numpy'} & set(sys.modules)"

    subprocess.run([sys.executable, "-c", program], check=True, timeout=PATIENCE_S, cwd=Path(__file__).parents[3])
