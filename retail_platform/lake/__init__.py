"""The lake: object layout, file names, manifests; no parsing of file contents."""
