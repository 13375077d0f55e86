"""A reader of a format that Footnote does not know."""

from llama_index.core import Document
from llama_index.core.readers.base import BaseReader


class RecipeReader(BaseReader):
    """Reads ``key=value`` lines; steps become paragraphs."""

    def load_data(self, file, extra_info=None):
        pairs = [line.split("=", 1) for line in file.read_text().splitlines() if "=" in line]
        fields = {key.strip(): value.strip() for key, value in pairs}
        steps = [value for key, value in fields.items() if key.startswith("step")]
        metadata = {"title": fields["name"], "minutes": int(fields.get("minutes", 0)), **(extra_info or {})}
        return [Document(text="\n\n".join(steps), metadata=metadata)]
