"""Redis for every process of the cluster: the only code that imports redis or hiredis."""
