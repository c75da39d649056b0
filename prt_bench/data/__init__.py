"""Where raw examples come from: folders, hub data, built-in and procedural sets."""
