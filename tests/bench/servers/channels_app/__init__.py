"""Django Channels with channels_redis: websockets in one process, answers in a worker process."""
