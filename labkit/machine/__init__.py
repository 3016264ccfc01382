"""Settings of the machine: changed, read back, journalled, changed back."""
