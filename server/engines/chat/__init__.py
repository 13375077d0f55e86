"""Chat engines behind LlamaIndex's `BaseChatEngine`; stateless, since one is made for each turn."""
