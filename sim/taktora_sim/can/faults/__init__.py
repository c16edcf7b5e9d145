"""What can go wrong on a simulated CAN bus: fault kinds of the World's board, for nodes, frames, signals, the line."""
