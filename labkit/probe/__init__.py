"""The native packet program, its build and its client."""
