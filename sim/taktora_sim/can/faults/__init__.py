"""What can go wrong on a simulated CAN bus: fault kinds of the World's board, at nodes, frames, signals and the line."""
