"""Settings, logging and telemetry; independent of FastAPI, LlamaIndex and SQL."""
