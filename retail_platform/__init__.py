"""Country x day retail data platform: files in, trusted marts out."""
