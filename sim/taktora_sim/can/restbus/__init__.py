"""The rest of a CAN bus from a DBC: one node for each sender, signal generators and disturbances."""
