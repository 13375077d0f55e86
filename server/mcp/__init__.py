"""The Model Context Protocol (https://modelcontextprotocol.io): Footnote as tools, over HTTP and stdio."""
