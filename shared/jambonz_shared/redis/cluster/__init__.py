"""Redis Cluster behind the interfaces of one Redis: a link, channels and stream readers that know the slots."""
