"""What to do when something the platform depends on fails for a while."""
