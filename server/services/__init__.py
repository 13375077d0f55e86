"""What the handlers call: answers, conversations, documents, collections, jobs."""
