"""Django settings: nothing but the channel layer."""

import os

SECRET_KEY = "benchmark"
ALLOWED_HOSTS = ["*"]
USE_TZ = True
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        "CONFIG": {
            # redis-py's own limits, 100 connections and 5 s, end consumers under the load of 256 calls.
            "hosts": [{"address": os.environ["BENCH_REDIS_URL"], "max_connections": 10_000, "socket_timeout": None}],
            # The default of 100 messages per channel makes it drop events.
            "capacity": 100_000,
        },
    }
}
ASGI_APPLICATION = "channels_app.asgi.application"
INSTALLED_APPS = ["channels"]
