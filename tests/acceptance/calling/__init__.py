"""A site made of what docs/calling.md shows, and what such a site has beside it."""
