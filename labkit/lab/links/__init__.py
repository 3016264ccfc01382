"""How two ports are wired: one file a kind of link."""
