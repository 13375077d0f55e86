"""Answers without a language model: units of the passages, ranked by what the question asks, and quoted whole."""
