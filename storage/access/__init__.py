"""Who may use the server: API keys."""
