"""Tests of the real EtherCAT driver on a segment behind a virtual cable."""
