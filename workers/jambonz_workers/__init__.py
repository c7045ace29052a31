"""Public API for applications, and the worker process that runs them."""
