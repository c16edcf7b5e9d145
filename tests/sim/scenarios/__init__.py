"""Scenarios that tests run, in this process and in fresh ones."""
