"""Real machines for tests: QEMU guests that are built from packages, provisioned, rebooted and measured."""
