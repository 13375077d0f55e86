"""A transformation that tells something of each chunk."""

from llama_index.core.schema import TransformComponent


class Tagged(TransformComponent):
    """Writes the number of a chunk's words into its metadata."""

    key: str = "words"

    def __call__(self, nodes, **kwargs):
        for node in nodes:
            node.metadata[self.key] = len(node.get_content().split())
        return nodes
