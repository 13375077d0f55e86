"""The boundary to language models: one interface, one retry policy, deadlines, errors that have names."""
