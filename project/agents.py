"""Where a site writes agents in code. The ones that are set up in the admin or by `configure` need nothing here."""
