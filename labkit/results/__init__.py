"""Results as they are shown: table, report, plots and comparison."""
