"""Task files, recipes and suites: data only."""
