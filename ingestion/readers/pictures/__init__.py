"""Pictures as documents, and the text in pictures of documents."""
