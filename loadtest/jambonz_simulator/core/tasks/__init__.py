"""How each verb runs: generators over the session, one module per family of verbs. Pure."""
