"""The protocol core of the simulator: one simulated call as a state machine. Pure."""
