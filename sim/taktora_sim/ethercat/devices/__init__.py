"""Devices that stand behind simulated ESCs: coupler, digital and analog terminals, and a generic one."""
