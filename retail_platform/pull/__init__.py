"""Pulled sources: REST services and databases are asked for news, which becomes inbox files.

Nothing here judges rows or loads them: a pulled file goes through the gate like a delivered one.
"""
