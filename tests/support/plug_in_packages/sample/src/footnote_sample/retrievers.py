"""A retriever over a list of titles, which names the chunks that Footnote has."""

import hashlib

from llama_index.core.retrievers import BaseRetriever
from llama_index.core.schema import NodeWithScore, TextNode


class TitleRetriever(BaseRetriever):
    """Finds documents by the words of their names."""

    def __init__(self, names=("lighthouse.md", "bread.md", "vacuum.md")):
        super().__init__()
        self._names = names

    def _retrieve(self, query_bundle):
        words = set(query_bundle.query_str.lower().replace("?", "").split())
        found = [name for name in self._names if name.removesuffix(".md") in words]
        return [NodeWithScore(node=TextNode(id_=chunk_id(name), text="not looked at"), score=1.0) for name in found]


def chunk_id(name):
    return hashlib.sha256(name.encode()).hexdigest()
