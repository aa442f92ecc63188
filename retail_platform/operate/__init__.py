"""What people do with the platform beside the UI: run, look, repair."""
