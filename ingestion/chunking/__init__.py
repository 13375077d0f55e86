"""From a document's text to chunks that the embedding model can read whole."""
