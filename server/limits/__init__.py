"""How much whoever asks may ask, spend, bring and keep."""
