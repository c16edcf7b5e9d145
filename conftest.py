"""What all tests of the repository share: a bench for tests of pytest plugins, signals as a terminal gives them."""

from __future__ import annotations

import signal
import threading

pytest_plugins = ["pytester"]

# A shell starts its background jobs with SIGINT ignored, and whatever they start inherits that: tests that interrupt a
# program of theirs would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, signal.default_int_handler)
