"""Set-up of a Snowflake account: what `snowflake_setup/` says, checked, and handed to schemachange.

The SQL lives there and nowhere else; names and columns come from the country registry and the
contracts. What the platform does on an account that is set up is the business of `warehouse`.
"""
