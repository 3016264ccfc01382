"""What sends and receives: the built-in probe, and the simulated DUT."""
