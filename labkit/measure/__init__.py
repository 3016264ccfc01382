"""Measuring: pure logic, no processes, no privileges."""
