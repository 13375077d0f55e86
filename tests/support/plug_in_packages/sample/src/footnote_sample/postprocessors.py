"""A postprocessor that leaves passages out."""

from llama_index.core.postprocessor.types import BaseNodePostprocessor


class Without(BaseNodePostprocessor):
    """Leaves out passages with a word."""

    word: str = "Sourdough"

    def _postprocess_nodes(self, nodes, query_bundle=None):
        return [each for each in nodes if self.word not in each.node.get_content()]
