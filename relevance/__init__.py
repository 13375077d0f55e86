"""Golden questions, relevance judgements, ranking metrics and their statistics."""
