"""What PostgreSQL takes as text."""


def storable(text: str) -> str:
    """Return a text without NUL and half surrogate pairs, which models write and PostgreSQL refuses."""
    return text.replace("\0", "").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
