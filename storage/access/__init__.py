"""Who may use the server: tenants and API keys."""
