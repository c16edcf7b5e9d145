"""Logs of a CAN bus: read in every format python-can reads, replayed, and written as candump, ASC and pcapng."""
