"""Executors: where work is done; each receives a callable."""
