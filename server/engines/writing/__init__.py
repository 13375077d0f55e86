"""From passages to an answer: prompts, synthesis, citations."""
