"""What the marts hold, now or as of an earlier moment, and what lies between two of these."""
