"""Statistics across runs: which differences are real."""
