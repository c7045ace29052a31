"""A jambonz feature server in software, for tests and load."""
