"""Settings, logging and telemetry set-up; knows nothing of FastAPI, LlamaIndex or SQL."""
