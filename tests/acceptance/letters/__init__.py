"""An app of a site that has tasks of its own."""
