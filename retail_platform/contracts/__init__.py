"""One Open Data Contract Standard file per feed."""
