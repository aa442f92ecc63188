"""Synthetic feeds for demonstrations, tests and benchmarks; nothing here runs in production."""
