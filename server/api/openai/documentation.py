"""OpenAI's streams in the OpenAPI document."""

EXAMPLE = """\
data: {"id":"chatcmpl-6f1c…","object":"chat.completion.chunk","created":1767323045,"model":"footnote/default",\
"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"footnote":{…}}

data: {"id":"chatcmpl-6f1c…",…,"choices":[{"index":0,"delta":{"content":"Set `FOOTNOTE_SERVER__PORT` [1]."},…}]}

data: {"id":"chatcmpl-6f1c…",…,"choices":[{"index":0,"delta":{"citations":[…],"rerank":null},…,\
"finish_reason":"stop"}],"citations":[…],"rerank":null,"footnote":{…}}

data: [DONE]
"""
SCHEMA = {
    "type": "object",
    "description": 'One event; `data` is a chunk as JSON, `{"error": …}`, or, in the last one, `[DONE]`.',
    "properties": {"data": {"type": "string"}},
    "required": ["data"],
}
CHUNKS = {"text/event-stream": {"schema": SCHEMA, "example": EXAMPLE}}
