"""OpenAI's protocol, for its clients without changes."""

from fastapi import APIRouter

from server.api.openai.completions import router as completions
from server.api.openai.embeddings import router as embeddings
from server.api.openai.models import router as models

router = APIRouter()
for part in (completions, models, embeddings):
    router.include_router(part)
