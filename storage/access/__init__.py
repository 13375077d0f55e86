"""Who may do how much: rates, budgets, quotas, and the record of what was used."""
