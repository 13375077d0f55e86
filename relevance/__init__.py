"""Whether what was found is right: golden questions, judging, ranking metrics and their statistics."""
