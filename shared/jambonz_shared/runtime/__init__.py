"""What every process of the cluster needs to live: its loop, its signals, its children, its internal HTTP."""
