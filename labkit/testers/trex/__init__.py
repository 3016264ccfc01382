"""TRex as a tester: its streams, its server in the tester's namespace, and its client in a process of its own."""
