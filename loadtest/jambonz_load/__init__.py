"""Load tests with locust: simulated jambonz calls on gevent. Run by ``locust -f loadtest/locustfile.py``."""
