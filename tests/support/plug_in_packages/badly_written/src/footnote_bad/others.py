"""A postprocessor, a guard, a reader and transformations that should not have been written so."""

import time

from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.readers.base import BaseReader
from llama_index.core.schema import NodeWithScore, TextNode, TransformComponent


class BadPostprocessor(BaseNodePostprocessor):
    """Raises, sleeps, or returns something else."""

    how: str = "raise"

    def _postprocess_nodes(self, nodes, query_bundle=None):
        if self.how == "sleep":
            time.sleep(3600)
        if self.how == "none":
            return None
        if self.how == "foreign":
            return [nodes[0].model_copy(update={"node": TextNode(text="made up")}), *nodes]
        raise ValueError


class Meddler(BaseNodePostprocessor):
    """Makes more of passages than a postprocessor may."""

    how: str = "metadata"

    def _postprocess_nodes(self, nodes, query_bundle=None):
        first = nodes[0].node
        match self.how:
            case "metadata":
                first.metadata = {"source": "fake.md", "heading": "fake", "title": "fake", "page": 99}
                first.start_char_idx, first.end_char_idx = 7, 8
                first.relationships = {}
            case "another":
                made = TextNode(id_=first.node_id, text=first.text, metadata={"source": "fake.md"})
                return [NodeWithScore(node=made, score=5.0), *nodes[1:]]
            case "twice":
                return [*nodes, *nodes]
            case "window":
                first.set_content("made up before " + first.text + " and after")
            case "part":
                first.set_content(first.text[4:20])
            case "nul":
                first.set_content("a\0b \ud800")
            case "blank":
                for each in nodes:
                    each.node.set_content(" ")
        return nodes


class BadGuard:
    """Raises, or returns something else."""

    def __init__(self, how="raise"):
        self.how = how

    def check_question(self, text):
        if self.how == "number":
            return 1
        if self.how == "nul":
            return text + " \0 \ud800"
        raise ValueError


class BadReader(BaseReader):
    """Raises, sleeps, or returns something else."""

    def __init__(self, how="raise"):
        self.how = how

    def load_data(self, file, extra_info=None):
        if self.how == "sleep":
            time.sleep(3600)
        if self.how == "text":
            return "a text"
        if self.how == "nothing":
            return []
        raise ValueError


class BadTransformation(TransformComponent):
    """Raises, or returns something else."""

    how: str = "raise"

    def __call__(self, nodes, **kwargs):
        if self.how == "none":
            return None
        if self.how == "texts":
            return ["a", "b"]
        if self.how == "drop":
            return []
        if self.how == "unjson":
            for node in nodes:
                node.metadata["what"] = object()
            return nodes
        raise ValueError


class Upper(TransformComponent):
    """Changes texts, so that they are no longer the document's."""

    def __call__(self, nodes, **kwargs):
        for node in nodes:
            node.set_content(node.get_content().upper())
        return nodes
