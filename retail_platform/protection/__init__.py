"""Personal data: keys, tokens and encryption; which columns hold any is said by contracts."""
