"""What gateways and workers agree on: wire, envelopes, directives, keys, settings, runtime."""
