"""Alerts: what is wrong becomes a message to the people who can do something about it, once."""
