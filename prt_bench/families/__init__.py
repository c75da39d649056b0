"""Families: how one kind of model is loaded and called."""
