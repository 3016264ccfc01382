"""The datapaths that a DUT can use: one file each, found by entry point."""
