"""Stateless gateway: ends jambonz websockets and publishes their events to Redis."""
