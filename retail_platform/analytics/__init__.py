"""Statistics over what the marts hold; numbers in, numbers out."""
