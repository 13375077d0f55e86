"""Retries of database calls."""

from __future__ import annotations

import stamina

from storage.errors import StoreUnavailable

RETRYING = stamina.AsyncRetryingCaller(attempts=6, timeout=60, wait_initial=0.2, wait_max=10).on(StoreUnavailable)
