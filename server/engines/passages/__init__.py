"""Which passages an answer is written from, and how far each reaches."""
