"""A site whose own backends do what no backend should."""
