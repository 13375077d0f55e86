"""Conversations, their turns, feedback, idempotency keys."""
