"""OpenDocument: texts, sheets, presentations."""
