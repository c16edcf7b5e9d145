"""The simulated EtherCAT segment: ESCs that process real frames, devices behind them, and three ways in."""
