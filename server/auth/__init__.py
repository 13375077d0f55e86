"""Who a request is from: API keys and tokens, checked."""
