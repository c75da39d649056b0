"""Records and sessions to tables and a static page."""
