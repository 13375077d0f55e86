"""Retries of database calls."""

from __future__ import annotations

import stamina
from stamina.instrumentation import set_on_retry_hooks

from storage.errors import StoreUnavailable

set_on_retry_hooks(())  # the database logs each failure itself, and stamina's line would be a second one
RETRYING = stamina.AsyncRetryingCaller(attempts=6, timeout=60, wait_initial=0.2, wait_max=10).on(StoreUnavailable)
