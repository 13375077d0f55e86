"""Who may use the server, and how much: tenants, API keys, rates, budgets, quotas, and the record of what was used."""
