"""Chat engines behind LlamaIndex's `BaseChatEngine`, made anew for each turn: they remember nothing."""
