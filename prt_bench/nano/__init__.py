"""Small vision models that this project trains itself from procedural pictures."""
