"""The retail command."""
