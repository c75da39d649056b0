"""Meters: each measures one thing and knows nothing of methods."""
