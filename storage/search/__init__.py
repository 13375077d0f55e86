"""Search: the statement, its lexical leg, filters, neighbours."""
