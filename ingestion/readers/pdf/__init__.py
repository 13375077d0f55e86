"""PDF, with PDFium, the engine of Chrome: fast, maintained, and hardened against hostile files."""
